// The page: images are sent to the service one after the other, and what it answers is shown.

import { request } from "./api.js";
import { paintDensity, paintScale } from "./density.js";
import { coveredShare, isCrossed, zoneCount, zoneDensity } from "./geometry.js";
import { Series } from "./series.js";
import { csv, download, fillTable, people, range } from "./table.js";
import { COLOURS, ZoneEditor } from "./zones.js";

const $ = (id) => document.getElementById(id);
const results = []; // {name, url, answer} or {name, error}
const REFRESH = 15_000;
const zonesBySize = new Map();
let shown = -1, limits = null, waiting = 0;

const say = (text) => { $("say").textContent = text; };
const millions = (number) => (number / 1e6).toLocaleString("en", { maximumSignificantDigits: 3 });
const sizeKey = ({ width, height }) => `${width} x ${height}`;
const zonesOf = (answer) => zonesBySize.get(sizeKey(answer)) ?? [];

function countIn(answer, zone) {
  if (isCrossed(zone.points)) return null;
  return zoneCount(answer.density, answer.width, answer.height, zone.points);
}

function inZones(result) {
  if (!result.answer) return {};
  const pairs = zonesOf(result.answer).map((zone) => [zone.name, countIn(result.answer, zone)]);
  return Object.fromEntries(pairs.filter(([, count]) => count !== null));
}

const editor = new ZoneEditor($("drawing"), {
  say,
  change: showZones,
  label: (zone) => {
    const answer = results[shown]?.answer, count = answer ? countIn(answer, zone) : null;
    return count === null ? zone.name : `${zone.name}: ${people(count)}`;
  },
  mode: (drawing) => {
    $("draw").setAttribute("aria-pressed", String(drawing));
    $("draw").textContent = drawing ? "Stop drawing" : "Draw a zone";
    $("finish").hidden = $("keys").hidden = !drawing;
    $("frame").classList.toggle("drawing", drawing);
    $("drawing").tabIndex = drawing ? 0 : -1;
    if (!drawing && document.activeElement === $("drawing")) $("draw").focus();
  },
});

// results

function show(index) {
  shown = index;
  const { name, url, answer } = results[index];
  $("empty").classList.add("away");
  $("view").hidden = $("zone-files").hidden = false;
  document.body.classList.add("counted");
  $("image").src = url;
  $("image").alt = `${name}: ${people(answer.count)} people`;
  $("frame").style.aspectRatio = `${answer.width} / ${answer.height}`;
  $("frame").style.setProperty("--ratio", answer.width / answer.height);
  const top = paintDensity($("density"), answer.density, answer.width, answer.height);
  const side = [answer.density.block_width, answer.density.block_height].map((each) => Math.round(each)).join(" × ");
  $("top").textContent = `${top.toFixed(top < 1 ? 2 : 1)} people in ${side} pixels`;
  if (!zonesBySize.has(sizeKey(answer))) zonesBySize.set(sizeKey(answer), []);
  editor.show(answer.width, answer.height, zonesOf(answer));
  $("number").textContent = people(answer.count);
  $("interval").textContent = intervalText(answer.interval);
  $("ground").textContent = groundText(answer.ground);
  $("ground").hidden = !answer.ground;
  $("doubt").hidden = !answer.doubtful;
  showZones();
}

function intervalText(interval) {
  if (!interval) return "An estimate. How far off it may be is not known, as this model is not calibrated.";
  if (interval.high === null) return `No interval: ${interval.state.replaceAll("_", " ")}.`;
  const level = Math.round(100 * interval.level);
  const notes = { outside_range: "; the count is outside the calibration", approximate: "; the level is approximate" };
  return `${range(interval)} at ${level} %, for images like those it was calibrated on${notes[interval.state] ?? ""}`;
}

const perMetre = (density) => `${density.toFixed(density < 1 ? 2 : 1)} people/m²`;

/** Return people per square metre of the whole image, and why something is missing, in words. */
function groundText(ground) {
  if (!ground) return "";
  const mean = ground.people_per_m2 === null ? "" : perMetre(ground.people_per_m2);
  const densest = ground.densest && `densest 9 m²: ${perMetre(ground.densest.people_per_m2)}, level ${ground.level}`;
  const left = ground.not_measured_count > 0.005 ? `${Math.round(100 * ground.not_measured_count)} % of the people are where it is not measured` : "";
  return [mean, densest, ground.reason, left].filter(Boolean).join("; ");
}

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function showTable() {
  $("history").hidden = results.length === 0;
  fillTable($("head"), $("rows"), results, zoneNames(), inZones, shown, show);
}

const zoneNames = () => [...new Set(results.flatMap((each) => (each.answer ? zonesOf(each.answer) : [])).map((zone) => zone.name))];

// zones

function showZones() {
  const answer = results[shown]?.answer;
  const rows = answer ? editor.zones.map((zone, index) => zoneRow(answer, zone, index)) : [];
  const focused = document.activeElement?.dataset.name;
  $("zones").replaceChildren(...rows);
  if (focused) $("zones").querySelector(`[data-name="${focused}"]`)?.focus();
  $("no-zones").hidden = rows.length > 0;
  $("save-zones").hidden = rows.length === 0;
  showTable();
}

function zoneRow(answer, zone, index) {
  const row = document.createElement("li"), swatch = document.createElement("span"), name = document.createElement("input");
  const number = document.createElement("output"), remove = document.createElement("button");
  row.classList.toggle("chosen", index === editor.selected);
  swatch.className = "swatch";
  swatch.style.background = COLOURS[index % COLOURS.length];
  Object.assign(name, { value: zone.name, maxLength: 60, ariaLabel: `Name of zone ${index + 1}` });
  name.dataset.name = index;
  name.addEventListener("focus", () => editor.select(index));
  name.addEventListener("change", () => rename(zone, name));
  const count = countIn(answer, zone);
  const share = Math.round(100 * coveredShare(answer.width, answer.height, zone.points));
  number.textContent = count === null ? "its lines cross" : people(count);
  const density = count === null ? null : zoneDensity(answer.density, answer.width, answer.height, zone.points);
  const title = `${count?.toFixed(1)} people on ${share} % of the image`;
  number.title = count === null ? "Move a corner" : density === null ? title : `${title}, ${perMetre(density)}`;
  if (density !== null) number.textContent += ` · ${density.toFixed(density < 1 ? 2 : 1)}/m²`;
  number.className = count === null ? "bad-text" : "";
  Object.assign(remove, { type: "button", className: "quiet icon", textContent: "×", ariaLabel: `Remove ${zone.name}` });
  remove.addEventListener("click", () => { editor.remove(index); $("draw").focus(); });
  row.append(swatch, name, number, remove);
  return row;
}

function rename(zone, input) {
  const name = input.value.trim();
  const taken = editor.zones.some((each) => each !== zone && each.name === name);
  if (!name || taken) {
    say(taken ? `There is a zone ${name} already.` : "A zone needs a name.");
    input.value = zone.name;
    return;
  }
  zone.name = name;
  editor.render();
  showZones();
}

/** Add the zones of a file; the service reads it, and checks that they fit the image. */
async function openZones(file) {
  showError("");
  const { width, height } = results[shown].answer;
  try {
    const zones = await request(`zones?${new URLSearchParams({ width, height })}`, { method: "POST", body: file });
    editor.add(zones);
    say(`${zones.length} zones of ${file.name} are added.`);
  } catch (error) {
    showError(error.message.replace(/^zones:/, `${file.name}:`));
  }
}

// images

async function count(file) {
  if (limits && file.size > limits.max_bytes) {
    throw new Error(`${file.name} is larger than ${millions(limits.max_bytes)} MB; shrink it.`);
  }
  const form = new FormData();
  form.append("image", file, file.name || "image");
  return request("count?density=true", { method: "POST", body: form }, () => { $("busy-text").textContent = "Waiting for a free place …"; });
}

let line = Promise.resolve();

/** Count files one after the other, also those that come while others are counted. */
function add(files) {
  addJobs(files.map((file) => [file.name || "the image", async () => [await count(file), URL.createObjectURL(file)]]));
}

/** Do jobs one after the other; each is a name and a function that returns an answer and the address of its image. */
function addJobs(jobs) {
  if (editor.corners !== null) editor.stop();
  showError("");
  waiting += jobs.length;
  for (const [name, job] of jobs) line = line.then(() => countOne(name, job));
}

/** Count in a camera as it is now. */
async function countCamera(name) {
  const answer = await request(`cameras/${encodeURIComponent(name)}/count?density=true&frame=true`, { method: "POST" });
  const { frame, ...rest } = answer;
  const time = new Date().toLocaleString("sv"); // year first, as a table of several days needs it
  return [{ ...rest, image: `${name} ${time}` }, `data:image/jpeg;base64,${frame}`];
}

async function countOne(name, job) {
  busy(name);
  try {
    const [answer, url] = await job();
    results.push({ name: answer.image, url, answer });
    show(results.length - 1);
  } catch (error) {
    results.push({ name, error: error.message });
    showError(error.message);
    showTable();
  }
  waiting -= 1;
  busy(null);
}

function busy(name) {
  const more = waiting > 1 ? ` (${waiting} to go)` : "";
  $("busy-text").textContent = name ? `Counting ${name}${more} …` : "";
  $("busy").hidden = !name;
  $("empty").classList.toggle("busy", name !== null);
  $("stage").setAttribute("aria-busy", String(name !== null));
  if (name && shown < 0) $("interval").textContent = `Counting ${name} …`;
  else if (shown < 0) $("interval").textContent = "Choose an image to count.";
}

// readings over time

const series = new Series($("series"), say);
let asked = 0;

async function showReadings() {
  const turn = ++asked, hours = Number($("hours").value), source = $("source").value;
  const query = new URLSearchParams(source ? { hours, source } : { hours });
  const history = await request(`readings?${query}`).catch((error) => ({ error: error.message }));
  if (turn !== asked) return; // another one was asked for meanwhile
  if (history.error) {
    $("latest").textContent = history.error;
    return;
  }
  options($("source"), history.sources, history.source);
  series.show(history);
  const last = history.points.at(-1), most = history.points.reduce((a, b) => (b.high > (a?.high ?? -1) ? b : a), undefined);
  const clock = (point) => new Date(1000 * point.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  $("latest").textContent = last
    ? `${people(last.count)} people at ${clock(last)}; at most ${people(most.high)}, at ${clock(most)}`
    : "No readings in this time.";
}

/** Fill a list of options, unless it has them already. */
function options(select, names, chosen) {
  if ([...select.options].map((each) => each.value).join("\n") === names.join("\n")) return;
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

function startReadings() {
  $("readings").hidden = false;
  for (const id of ["source", "hours"]) $(id).addEventListener("change", showReadings);
  setInterval(() => { if (!document.hidden) showReadings(); }, REFRESH);
  showReadings();
}

// what the person does

$("choose").addEventListener("change", () => { add([...$("choose").files]); $("choose").value = ""; });
document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) add([...event.clipboardData.files]); });

let entered = 0;
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => { if (holdsFiles(event)) { entered += 1; $("target").hidden = false; } });
document.addEventListener("dragleave", (event) => { if (holdsFiles(event)) $("target").hidden = (entered = Math.max(0, entered - 1)) === 0; });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  entered = 0;
  $("target").hidden = true;
  add([...event.dataTransfer.files]);
});

$("draw").addEventListener("click", () => (editor.corners === null ? editor.start() : editor.stop()));
$("count-camera").addEventListener("click", () => { const name = $("camera").value; addJobs([[name, () => countCamera(name)]]); });
$("finish").addEventListener("click", () => editor.finish());
$("show").addEventListener("change", () => { $("density").hidden = $("legend").hidden = !$("show").checked; });
$("strength").addEventListener("input", () => { $("density").style.opacity = $("strength").value / 100; });
$("image").addEventListener("error", () => { $("unseen").hidden = false; });
$("image").addEventListener("load", () => { $("unseen").hidden = true; });
$("csv").addEventListener("click", () => download("counts.csv", csv(results, zoneNames(), inZones), "text/csv"));
$("clear").addEventListener("click", () => location.reload());
$("open-zones").addEventListener("change", () => {
  const [file] = $("open-zones").files;
  if (file) openZones(file);
  $("open-zones").value = "";
});
$("save-zones").addEventListener("click", () => {
  const zones = Object.fromEntries(editor.zones.map((zone) => [zone.name, zone.points]));
  download("zones.json", JSON.stringify(zones, null, 1), "application/json");
});

paintScale($("legend").querySelector("canvas"));
try {
  limits = await request("info");
  $("model").textContent = `counts with ${limits.model}`;
  const size = `${millions(limits.max_bytes)} MB and ${millions(limits.max_pixels)} megapixels`;
  $("limits").textContent = `Up to ${size} each. Nothing that you choose is stored.`;
  options($("camera"), limits.cameras, limits.cameras[0]);
  $("cameras").hidden = limits.cameras.length === 0;
  if (limits.readings) startReadings();
} catch (error) {
  showError(error.message);
}
