// Zones on the image: drawn and changed with a mouse, by touch and from the keyboard.

const SVG = "http://www.w3.org/2000/svg";
export const COLOURS = ["#ffbe28", "#46aaff", "#ff5a50", "#50dc6e", "#e678ff", "#3ce1e1", "#ff8c3c", "#bed73c"];
const CLOSE = 14; // CSS pixels within which a corner is meant
const STEP = 1 / 100, FAR = 1 / 10; // of the longer side, for the arrow keys
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function element(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The zones of images of one size, and their outlines in an SVG over the image. */
export class ZoneEditor {
  #svg; #say; #change; #mode; #label;
  #drag = null; #cursor = null;
  width = 1; height = 1;
  zones = []; selected = -1;
  corners = null; // of the zone that is being drawn

  /** `change` is called when zones have changed, `mode` when drawing starts or ends; `label` gives the text on a zone. */
  constructor(svg, { say, change, mode, label }) {
    this.#svg = svg; this.#say = say; this.#change = change; this.#mode = mode; this.#label = label;
    svg.addEventListener("pointerdown", (event) => this.#down(event));
    svg.addEventListener("pointermove", (event) => this.#move(event));
    svg.addEventListener("pointerup", (event) => this.#up(event));
    svg.addEventListener("pointercancel", () => { this.#drag = null; });
    svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.render()).observe(svg);
  }

  /** Show the zones of images of this size. */
  show(width, height, zones) {
    Object.assign(this, { width, height, zones, selected: -1, corners: null });
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#mode(false);
    this.render();
  }

  start() {
    this.corners = [];
    this.selected = -1;
    this.#cursor = null;
    this.#mode(true);
    this.render();
    this.#svg.focus({ preventScroll: true });
    this.#say("Drawing a zone. Arrow keys move, Space sets a corner, Enter finishes, Escape stops.");
  }

  stop() {
    this.corners = null;
    this.#cursor = null;
    this.#mode(false);
    this.render();
  }

  finish() {
    if (this.corners === null) return;
    if (this.corners.length < 3) {
      this.#say("A zone needs three corners.");
      return;
    }
    const points = this.corners;
    this.zones.push({ name: this.#freeName(), points });
    this.stop();
    this.select(this.zones.length - 1);
    this.#change();
  }

  select(index) {
    if (this.selected === index) return;
    this.selected = index;
    this.render();
    this.#change();
  }

  /** Add zones; they replace those of the same name. */
  add(zones) {
    for (const zone of zones) {
      const index = this.zones.findIndex((each) => each.name === zone.name);
      if (index < 0) this.zones.push(zone);
      else this.zones[index] = zone;
    }
    this.selected = -1;
    this.render();
    this.#change();
  }

  remove(index) {
    const [zone] = this.zones.splice(index, 1);
    this.selected = -1;
    this.#say(`Zone ${zone.name} is removed.`);
    this.render();
    this.#change();
  }

  #freeName() {
    for (let number = this.zones.length + 1; ; number++) {
      if (!this.zones.some((zone) => zone.name === `zone ${number}`)) return `zone ${number}`;
    }
  }

  get #scale() {
    return this.width / (this.#svg.clientWidth || this.width); // image pixels per CSS pixel
  }

  #point(event) {
    const box = this.#svg.getBoundingClientRect();
    return this.#inside((event.clientX - box.left) / box.width * this.width, (event.clientY - box.top) / box.height * this.height);
  }

  #inside(x, y) {
    const round = (value) => Math.round(100 * value) / 100;
    return [round(Math.min(Math.max(x, 0), this.width)), round(Math.min(Math.max(y, 0), this.height))];
  }

  #near(a, b) {
    return Math.hypot(a[0] - b[0], a[1] - b[1]) < CLOSE * this.#scale;
  }

  #down(event) {
    if (event.button !== 0) return;
    const point = this.#point(event);
    if (this.corners !== null) {
      event.preventDefault();
      this.#svg.focus({ preventScroll: true });
      this.#svg.setPointerCapture(event.pointerId);
      if (this.corners.length >= 3 && this.#near(point, this.corners[0])) {
        this.finish();
        return;
      }
      this.corners.push(point);
      this.#drag = this.corners.length === 1 ? { from: point } : null;
      this.#cursor = point;
      this.render();
      return;
    }
    const { zone, corner } = event.target.dataset;
    if (zone === undefined) {
      this.select(-1);
      return;
    }
    this.select(Number(zone));
    event.preventDefault();
    this.#svg.setPointerCapture(event.pointerId);
    this.#drag = { zone: Number(zone), corner: corner === undefined ? null : Number(corner), last: point };
  }

  #move(event) {
    const point = this.#point(event);
    if (this.corners !== null) {
      this.#cursor = point;
      this.render();
    } else if (this.#drag) {
      const { zone, corner, last } = this.#drag;
      this.#shift(zone, corner, point[0] - last[0], point[1] - last[1]);
      this.#drag.last = point;
    }
  }

  #up(event) {
    const from = this.#drag?.from, point = this.#point(event);
    this.#drag = null;
    if (this.corners?.length === 1 && from && !this.#near(from, point)) {
      const [x1, y1] = from, [x2, y2] = point;
      if (x1 === x2 || y1 === y2) return;
      this.corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
      this.finish();
    }
  }

  /** Move a corner of a zone, or with null the whole zone. */
  #shift(zone, corner, dx, dy) {
    const points = this.zones[zone].points;
    for (const index of corner === null ? points.keys() : [corner]) {
      points[index] = this.#inside(points[index][0] + dx, points[index][1] + dy);
    }
    this.render();
    this.#change();
  }

  #key(event) {
    const arrow = ARROWS[event.key];
    const step = (event.shiftKey ? FAR : STEP) * Math.max(this.width, this.height);
    const { zone, corner } = event.target.dataset;
    if (this.corners !== null) {
      if (!this.#drawKey(event, arrow?.map((each) => each * step))) return;
    } else if (zone !== undefined && arrow) {
      this.#shift(Number(zone), Number(corner), arrow[0] * step, arrow[1] * step);
    } else if (zone !== undefined && event.key === "Delete") {
      this.#removeCorner(Number(zone), Number(corner));
    } else {
      return;
    }
    event.preventDefault();
  }

  #removeCorner(zone, corner) {
    if (this.zones[zone].points.length <= 3) {
      this.remove(zone);
      return;
    }
    this.zones[zone].points.splice(corner, 1);
    this.render();
    this.#change();
  }

  #drawKey(event, by) {
    this.#cursor ??= [this.width / 2, this.height / 2];
    if (by) {
      this.#cursor = this.#inside(this.#cursor[0] + by[0], this.#cursor[1] + by[1]);
    } else if (event.key === " ") {
      this.corners.push(this.#cursor);
      this.#say(`Corner ${this.corners.length} at ${this.#percent(this.#cursor)}.`);
    } else if (event.key === "Backspace") {
      this.corners.pop();
      this.#say(`${this.corners.length} corners.`);
    } else if (event.key === "Enter") {
      this.finish();
      return true;
    } else if (event.key === "Escape") {
      this.stop();
      this.#say("Drawing is stopped.");
      return true;
    } else {
      return false;
    }
    this.render();
    return true;
  }

  #percent([x, y]) {
    return `${Math.round((100 * x) / this.width)} % across, ${Math.round((100 * y) / this.height)} % down`;
  }

  render() {
    const focused = this.#svg.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const parts = this.zones.flatMap((zone, index) => this.#outline(zone, index));
    if (this.zones[this.selected]) parts.push(...this.#handles(this.selected));
    if (this.corners !== null) parts.push(...this.#draft());
    this.#svg.replaceChildren(...parts);
    if (focused) this.#svg.querySelector(`[data-key="${focused}"]`)?.focus({ preventScroll: true });
  }

  #outline(zone, index) {
    const points = zone.points.join(" "), colour = COLOURS[index % COLOURS.length];
    const chosen = index === this.selected ? " chosen" : "";
    const left = Math.min(...zone.points.map(([x]) => x)), size = 15 * this.#scale;
    const corner = zone.points.filter(([x]) => x < left + size).reduce((a, b) => (b[1] < a[1] ? b : a));
    const label = element("text", {
      class: "name", x: corner[0] + 0.5 * size, y: corner[1] + 1.4 * size, "font-size": size, "stroke-width": 0.3 * size,
    }, this.#label(zone));
    return [
      element("polygon", { class: "edge", points }),
      element("polygon", { class: `zone${chosen}`, points, fill: colour, stroke: colour, "data-zone": index }),
      label,
    ];
  }

  #handles(index) {
    const zone = this.zones[index], colour = COLOURS[index % COLOURS.length];
    return zone.points.map(([x, y], corner) => {
      const about = { cx: x, cy: y, "data-zone": index, "data-corner": corner };
      return element("g", { class: "handle" },
        element("circle", { ...about, r: 22 * this.#scale, class: "reach" }),
        element("circle", {
          ...about, r: 7 * this.#scale, fill: colour, class: "dot", tabindex: 0, role: "button", "data-key": `${index}-${corner}`,
          "aria-label": `Corner ${corner + 1} of ${zone.name}, ${this.#percent([x, y])}; arrow keys move it, Delete removes it`,
        }));
    });
  }

  #draft() {
    const drag = this.#drag?.from, [x, y] = this.#cursor ?? [];
    let line = this.#cursor ? [...this.corners, this.#cursor] : this.corners;
    if (drag && this.#cursor) line = [drag, [x, drag[1]], [x, y], [drag[0], y], drag];
    const parts = [
      element("polyline", { class: "edge", points: line.join(" ") }),
      element("polyline", { class: "draft", points: line.join(" ") }),
      ...this.corners.map(([cx, cy], index) => element("circle", {
        cx, cy, r: (index ? 4 : 7) * this.#scale, class: "draft-dot",
      })),
    ];
    if (this.#cursor) {
      const arm = 12 * this.#scale;
      const cross = `M${x - arm} ${y}h${2 * arm}M${x} ${y - arm}v${2 * arm}`;
      parts.push(element("path", { class: "edge", d: cross }), element("path", { class: "cross", d: cross }));
    }
    return parts;
  }
}
