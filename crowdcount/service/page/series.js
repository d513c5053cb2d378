// Counts of a watched stream over time: a line of means, a band of extremes, and the times without readings.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 220, LEFT = 48, RIGHT = 12, TOP = 12, BOTTOM = 28;

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

/** Return round steps from 0 up to at least `top`, about four of them. */
function steps(top) {
  const raw = Math.max(top, 1) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw);
  return Array.from({ length: Math.ceil(Math.max(top, 1) / step) + 1 }, (_, index) => index * step);
}

const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const day = (seconds) => new Date(1000 * seconds).toLocaleDateString([], { weekday: "short", day: "numeric" });

/** Return the points in runs without a gap. */
function runs(points, gap) {
  const found = [];
  points.forEach((point, index) => {
    if (index === 0 || point.time - points[index - 1].time > gap) found.push([]);
    found.at(-1).push(point);
  });
  return found;
}

/** A drawing of a history that follows pointer and arrow keys. */
export class Series {
  #svg; #say; #history = null; #at = null;

  constructor(svg, say) {
    this.#svg = svg; this.#say = say;
    svg.addEventListener("pointermove", (event) => this.#point(event));
    svg.addEventListener("pointerdown", (event) => this.#point(event));
    svg.addEventListener("pointerleave", () => this.#mark(null));
    svg.addEventListener("blur", () => this.#mark(null));
    svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(svg);
  }

  show(history) {
    const marked = this.#history?.points[this.#at]?.time;
    this.#history = history;
    this.#at = marked === undefined || !history.points.length ? null : this.#nearest((point) => Math.abs(point.time - marked));
    this.#draw();
  }

  #x(seconds) {
    const { since, until } = this.#history;
    return LEFT + ((seconds - since) / (until - since)) * (this.#svg.clientWidth - LEFT - RIGHT);
  }

  #y(count, top) {
    return TOP + (1 - count / top) * (HEIGHT - TOP - BOTTOM);
  }

  #draw() {
    const width = this.#svg.clientWidth;
    if (!this.#history || !width) return;
    const { points, outages, since, until } = this.#history;
    const marks = steps(Math.max(0, ...points.map((point) => point.high))), top = marks.at(-1);
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const parts = [];
    for (const { began, ended, reason } of outages) {
      const left = this.#x(Math.max(began, since)), right = this.#x(Math.min(ended ?? until, until));
      const rect = element("rect", { class: "outage", x: left, y: TOP, width: Math.max(1, right - left), height: HEIGHT - TOP - BOTTOM });
      rect.append(element("title", {}, `${clock(began)} to ${ended ? clock(ended) : "now"}: ${reason}`));
      parts.push(rect);
    }
    for (const mark of marks) {
      const y = this.#y(mark, top);
      parts.push(element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }));
      parts.push(element("text", { class: "tick end", x: LEFT - 8, y: y + 4 }, mark.toLocaleString("en")));
    }
    const ticks = Math.max(2, Math.min(8, Math.floor(width / 110)));
    for (let index = 0; index <= ticks; index++) {
      const seconds = since + (index / ticks) * (until - since);
      const anchor = index === 0 ? "start" : index === ticks ? "end" : "middle";
      const text = until - since > 2 * 86400 ? day(seconds) : clock(seconds);
      parts.push(element("text", { class: `tick ${anchor}`, x: this.#x(seconds), y: HEIGHT - 8 }, text));
    }
    for (const run of runs(points, (2.5 * (until - since)) / 400)) {
      const at = (point, key) => `${this.#x(point.time).toFixed(1)},${this.#y(point[key], top).toFixed(1)}`;
      const band = [...run.map((point) => at(point, "high")), ...run.toReversed().map((point) => at(point, "low"))];
      parts.push(element("polygon", { class: "band", points: band.join(" ") }));
      if (run.length === 1) parts.push(element("circle", { class: "single", cx: this.#x(run[0].time), cy: this.#y(run[0].count, top), r: 2 }));
      else parts.push(element("polyline", { class: "line", points: run.map((point) => at(point, "count")).join(" ") }));
    }
    const point = points[this.#at];
    if (point) {
      const x = this.#x(point.time), late = x > width / 2;
      parts.push(element("line", { class: "rule", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
      parts.push(element("circle", { class: "spot", cx: x, cy: this.#y(point.count, top), r: 4.5 }));
      parts.push(element("text", { class: `value ${late ? "end" : "start"}`, x: x + (late ? -10 : 10), y: TOP + 14 }, this.#words(point)));
    }
    this.#svg.replaceChildren(...parts);
  }

  #words(point) {
    const when = this.#history.until - this.#history.since > 86400 ? `${day(point.time)} ${clock(point.time)}` : clock(point.time);
    return `${when}: ${point.count.toFixed(1)} (${point.low.toFixed(1)} to ${point.high.toFixed(1)})`;
  }

  #mark(index) {
    if (index === this.#at) return;
    this.#at = index;
    this.#draw();
  }

  #point(event) {
    if (!this.#history?.points.length) return;
    const x = event.clientX - this.#svg.getBoundingClientRect().left;
    this.#mark(this.#nearest((point) => Math.abs(this.#x(point.time) - x)));
  }

  /** Return the index of the point with the smallest distance. */
  #nearest(distance) {
    const { points } = this.#history;
    return points.reduce((best, point, index) => (distance(point) < distance(points[best]) ? index : best), 0);
  }

  #key(event) {
    const points = this.#history?.points ?? [], last = points.length - 1;
    const moves = { ArrowLeft: (at) => at - 1, ArrowRight: (at) => at + 1, Home: () => 0, End: () => last };
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    this.#mark(Math.min(Math.max(moves[event.key](this.#at ?? last), 0), last));
    this.#say(this.#words(points[this.#at]));
  }
}
