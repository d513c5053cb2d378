// The counted images as a table and as CSV.

const FORMULA = /^'*[=+\-@\t\r]/; // a spreadsheet would calculate such a cell

/** Return a number of people as text: whole from ten upwards. */
export function people(count) {
  return count >= 9.95 ? Math.round(count).toLocaleString("en") : (Math.round(10 * count) / 10).toFixed(1);
}

function cell(value) {
  if (typeof value !== "string") return value === null || value === undefined ? "" : String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Return the table of results as CSV; `zones` are names of columns, `inZones(result)` the counts by name. */
export function csv(results, zones, inZones) {
  const head = ["image", "count", "low", "high", "interval", "width", "height", "doubtful", "people_per_m2", "max_people_per_m2", "level", ...zones, "error"];
  const lines = results.map((each) => {
    const answer = each.answer ?? {}, interval = answer.interval ?? {}, ground = answer.ground ?? {}, counts = inZones(each);
    return [
      each.name, answer.count, interval.low, interval.high, interval.state, answer.width, answer.height, answer.doubtful,
      ground.people_per_m2, ground.densest?.people_per_m2, ground.level,
      ...zones.map((name) => counts[name]), each.error ?? "",
    ];
  });
  return [head, ...lines].map((line) => line.map(cell).join(",") + "\n").join("");
}

/** Have the browser save a text as a file. */
export function download(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function make(name, text = "", properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}

/** Fill the table; `open(index)` shows an image again. */
export function fillTable(head, rows, results, zones, inZones, shown, open) {
  const calibrated = results.some((each) => each.answer?.interval);
  const line = document.createElement("tr");
  line.append(make("th", "Image", { scope: "col" }), make("th", "People", { scope: "col", className: "number-cell" }));
  if (calibrated) line.append(make("th", "Interval", { scope: "col", className: "number-cell" }));
  line.append(...zones.map((name) => make("th", name, { scope: "col", className: "number-cell" })));
  head.replaceChildren(line);
  rows.replaceChildren(...results.map((each, index) => {
    const row = document.createElement("tr"), name = document.createElement("th");
    name.scope = "row";
    row.classList.toggle("shown", index === shown);
    if (each.error) {
      const why = make("span", each.error, { className: "bad-text small" });
      name.append(make("span", each.name), why);
      name.colSpan = 2 + Number(calibrated) + zones.length;
      row.append(name);
      return row;
    }
    const button = make("button", each.name, { type: "button", className: "link" });
    button.addEventListener("click", () => open(index));
    if (index === shown) button.setAttribute("aria-current", "true");
    name.append(button);
    const counts = inZones(each), { count, interval } = each.answer;
    row.append(name, make("td", count.toFixed(1), { className: "number-cell" }));
    if (calibrated) row.append(make("td", interval ? range(interval) : "", { className: "number-cell" }));
    row.append(...zones.map((zone) => make("td", zone in counts ? counts[zone].toFixed(1) : "–", {
      className: "number-cell", title: zone in counts ? "" : "This zone is on images of another size, or its lines cross",
    })));
    return row;
  }));
}

/** Return the ends of an interval, rounded outwards. */
export function range(interval) {
  if (interval.high === null) return interval.state.replaceAll("_", " ");
  return `${Math.floor(interval.low).toLocaleString("en")}–${Math.ceil(interval.high).toLocaleString("en")}`;
}
