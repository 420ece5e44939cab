// Charts of the last hour as SVG: lines, or areas stacked on each other, with the values under the pointer.
import { h, s, show } from "./dom.js";
import { clock } from "./format.js";

const HOUR = 3_600_000;
const LEFT = 48, RIGHT = 6, TOP = 8, BOTTOM = 20;

/** Axis values that people like to read: 1, 2 or 5 times a power of ten. */
export function ticks(max, count = 4) {
  if (!(max > 0)) return [0, 1];
  const rough = max / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let value = 0; value <= max + step * 0.999; value += step) found.push(value);
  return found;
}

export class Chart {
  /** series: [{name, colour (a custom property), value(sample), area, stack}]; format: of values. */
  constructor(node, series, { format = String, floor = 0 } = {}) {
    Object.assign(this, { series, format, floor, samples: [], hover: null });
    this.legend = h("div", { class: "legend" });
    this.svg = s("svg", { role: "img" });
    node.before(this.legend);
    node.append(this.svg);
    this.node = node;
    new ResizeObserver(() => this.draw()).observe(node);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => { this.hover = null; this.draw(); });
  }

  set(samples) { this.samples = samples; this.draw(); }
  add(sample) {
    this.samples.push(sample);
    if (this.samples.length > 720) this.samples.shift();
    this.draw();
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const at = this.from + (event.clientX - box.left - LEFT) / Math.max(1, box.width - LEFT - RIGHT) * (this.to - this.from);
    let best = null;
    for (const sample of this.samples) if (!best || Math.abs(sample.at - at) < Math.abs(best.at - at)) best = sample;
    this.hover = best;
    this.draw();
  }

  draw() {
    const width = this.node.clientWidth, height = this.node.clientHeight;
    if (!width) return;
    this.to = this.samples.length ? this.samples.at(-1).at : Date.now();
    // A young history fills its chart: a minute at least, an hour at most.
    const age = this.samples.length ? this.to - this.samples[0].at : 0;
    this.from = this.to - Math.min(HOUR, Math.max(60_000, age));
    const shown = this.samples.filter((sample) => sample.at >= this.from);
    const stacked = this.series.filter((each) => each.stack);
    let max = this.floor;
    for (const sample of shown) {
      max = Math.max(max, stacked.reduce((sum, each) => sum + (each.value(sample) || 0), 0));
      for (const each of this.series) if (!each.stack) max = Math.max(max, each.value(sample) || 0);
    }
    const marks = ticks(max, height < 130 ? 3 : 4);
    const top = marks.at(-1);
    const x = (at) => LEFT + (at - this.from) / (this.to - this.from || 1) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / top) * (height - TOP - BOTTOM);
    const parts = marks.map((mark) => [
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }),
      s("text", { x: LEFT - 7, y: y(mark) + 4, "text-anchor": "end" }, this.format(mark)),
    ]);
    for (let number = 0; number <= 3; number += 1) {
      const at = this.from + (this.to - this.from) * number / 3;
      parts.push(s("text", { x: x(at), y: height - 4, "text-anchor": number === 0 ? "start" : number === 3 ? "end" : "middle" }, clock(at).slice(0, this.to - this.from < 300_000 ? 8 : 5)));
    }
    const below = new Map(shown.map((sample) => [sample, 0]));
    for (const each of this.series) parts.push(this.path(each, shown, below, x, y));
    if (this.hover && this.hover.at >= this.from) {
      parts.push(s("line", { class: "cross", x1: x(this.hover.at), x2: x(this.hover.at), y1: TOP, y2: height - BOTTOM }));
    }
    show(this.svg, parts);
    this.svg.setAttribute("aria-label", this.series.map((each) => each.name).join(", "));
    const sample = this.hover || shown.at(-1);
    show(this.legend,
      this.series.map((each) => {
        const value = sample ? each.value(sample) : null;
        return h("span", {}, h("i", { vars: { background: `var(${each.colour})` } }), each.name, h("b", {}, value === null || value === undefined ? "" : this.format(value)));
      }),
      this.hover && h("span", { class: "when" }, clock(this.hover.at)));
  }

  path(each, shown, below, x, y) {
    // Pieces between gaps: where nothing was measured nothing is drawn.
    const pieces = [];
    let piece = null;
    for (const sample of shown) {
      const value = each.value(sample);
      if (value === null || value === undefined) { if (!each.sparse) piece = null; continue; }
      if (!piece) pieces.push(piece = []);
      const base = each.stack ? below.get(sample) : 0;
      piece.push([x(sample.at), y(base + value), y(base)]);
      if (each.stack) below.set(sample, base + value);
    }
    return pieces.map((points) => {
      const line = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join("L");
      const paths = [];
      if (each.area || each.stack) {
        const back = points.slice().reverse().map(([px, , pb]) => `${px.toFixed(1)},${pb.toFixed(1)}`).join("L");
        const area = s("path", { d: `M${line}L${back}Z`, "fill-opacity": each.stack ? ".75" : ".14" });
        area.style.fill = `var(${each.colour})`;
        paths.push(area);
      }
      if (!each.stack) {
        const stroke = s("path", { d: points.length > 1 ? `M${line}` : `M${line}l1.5,0`, fill: "none", "stroke-width": "1.8", "stroke-linejoin": "round", "stroke-linecap": "round" });
        stroke.style.stroke = `var(${each.colour})`;
        paths.push(stroke);
      }
      return paths;
    });
  }
}
