// Executions as bars, a row for each slot of a worker: drawn on a canvas, so that thousands of them move smoothly.
import { h } from "./dom.js";
import { clock, duration, jobName, moment } from "./format.js";

const LONGEST = 30 * 86_400_000;
const ROW = 22, HEAD = 26, GROUP = 24;

export class Gantt {
  constructor(node, onChoose) {
    Object.assign(this, { node, onChoose, rows: [], bars: [], window: 900_000, end: 0, live: true });
    this.canvas = h("canvas", { tabindex: "0", role: "img", "aria-label": "Executions of each worker over time" });
    this.tip = h("div", { class: "tip", hidden: true });
    node.append(this.canvas, this.tip);
    new ResizeObserver(() => this.draw()).observe(node);
    window.addEventListener("themechange", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.listen();
    setInterval(() => { if (this.live && !document.hidden) this.draw(); }, 250);
  }

  set(executions) {
    // By the clocks of other machines: what cannot be is left out.
    const latest = Date.now() + 86_400_000, earliest = Date.now() - LONGEST;
    this.executions = executions.filter((each) => each.started_at > earliest && each.started_at < latest).sort((a, b) => a.started_at - b.started_at);
    this.pack();
    this.draw();
  }

  span(chosen) {
    if (chosen === "all") {
      const first = this.executions?.[0]?.started_at || Date.now() - 900_000;
      this.window = Math.min(LONGEST * 1.05, Math.max(10_000, (Date.now() - first) * 1.05));
    } else this.window = Number(chosen) * 1000;
    this.live = true;
    this.draw();
  }

  /** Each worker's executions into as few rows as they need. */
  pack() {
    const workers = new Map();
    for (const each of this.executions) {
      const name = each.worker || "unknown";
      if (!workers.has(name)) workers.set(name, []);
      const lanes = workers.get(name);
      let lane = lanes.findIndex((last) => last <= each.started_at);
      if (lane < 0) lane = lanes.length;
      lanes[lane] = each.ended_at || Infinity;
      each.lane = lane;
    }
    this.groups = [...workers.entries()].sort(([a], [b]) => a.localeCompare(b, undefined, { numeric: true })).map(([name, lanes]) => ({ name, lanes: lanes.length }));
    let y = HEAD;
    for (const group of this.groups) { group.y = y; y += GROUP + group.lanes * ROW + 6; }
    this.height = Math.max(120, y + 6);
  }

  colour(each) {
    const name = !each.outcome ? (each.kind === "run" ? "--run" : "--done")
      : { completed: "--done", failed: "--dead", timed_out: "--dead", lost: "--delay", cancelled: "--wait", handed_back: "--queue" }[each.outcome] || "--wait";
    return this.style.getPropertyValue(name);
  }

  draw() {
    const width = this.node.clientWidth;
    if (!width || !this.groups) return;
    const ratio = window.devicePixelRatio || 1;
    const height = this.height;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.height = `${height}px`;
    }
    this.style = getComputedStyle(document.documentElement);
    const v = (name) => this.style.getPropertyValue(name);
    const draw = this.canvas.getContext("2d");
    draw.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw.clearRect(0, 0, width, height);
    const now = Date.now();
    if (this.live && !this.over) this.end = now + this.window * 0.03; // what is pointed at holds still
    const from = this.end - this.window;
    this.x = (at) => (at - from) / this.window * width;
    draw.font = `11.5px ${v("--sans")}`;
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400].map((each) => each * 1000).find((each) => each / this.window * width >= 88) || Math.ceil(this.window * 88 / width / 86_400_000) * 86_400_000;
    const zone = new Date().getTimezoneOffset() * 60_000;
    for (let at = Math.ceil((from - zone) / step) * step + zone; at < this.end; at += step) {
      const x = Math.round(this.x(at)) + 0.5;
      draw.strokeStyle = v("--line");
      draw.beginPath(); draw.moveTo(x, HEAD - 4); draw.lineTo(x, height); draw.stroke();
      draw.fillStyle = v("--muted");
      draw.fillText(step < 60_000 ? clock(at) : moment(at).replace(/:\d\d(?=\s|$)(?!.*:)/, (text) => (step >= 60_000 && clock(at).startsWith(moment(at).slice(0, 5)) ? "" : text)), x + 4, 16);
    }
    for (const group of this.groups) {
      draw.fillStyle = v("--sunken");
      draw.fillRect(0, group.y, width, GROUP - 3);
      draw.fillStyle = v("--text");
      draw.font = `600 12px ${v("--sans")}`;
      draw.fillText(group.name, 10, group.y + 15);
    }
    draw.font = `11.5px ${v("--sans")}`;
    const places = new Map(this.groups.map((group) => [group.name, group.y + GROUP]));
    this.bars = [];
    for (const each of this.executions) {
      const end = each.ended_at || now;
      if (end < from || each.started_at > this.end) continue;
      const x1 = Math.max(-4, this.x(each.started_at)), x2 = Math.min(width + 4, Math.max(x1 + 2, this.x(end)));
      const y = places.get(each.worker || "unknown") + each.lane * ROW;
      draw.fillStyle = this.colour(each);
      draw.globalAlpha = each === this.over ? 1 : 0.86;
      draw.beginPath(); draw.roundRect(x1, y + 2, x2 - x1, ROW - 4, Math.min(4, (x2 - x1) / 2)); draw.fill();
      draw.globalAlpha = 1;
      if (x2 - x1 > 46) {
        draw.save();
        draw.beginPath(); draw.rect(Math.max(0, x1) + 5, y, x2 - Math.max(0, x1) - 9, ROW); draw.clip();
        draw.fillStyle = v("--on-accent");
        draw.fillText(jobName(each.key), Math.max(0, x1) + 6, y + 15);
        draw.restore();
      }
      this.bars.push([x1, y, x2, y + ROW, each]);
    }
    const x = this.x(now);
    if (x < width) { draw.strokeStyle = v("--accent"); draw.beginPath(); draw.moveTo(x, HEAD - 4); draw.lineTo(x, height); draw.stroke(); }
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    return this.bars.find(([x1, y1, x2, y2]) => x >= x1 - 1 && x <= x2 + 1 && y >= y1 && y <= y2)?.[4];
  }

  zoom(factor, share = 0.5) {
    const anchor = this.end - this.window * (1 - share);
    this.window = Math.min(LONGEST * 1.05, Math.max(2_000, this.window * factor));
    if (!this.live) this.end = anchor + this.window * (1 - share);
    this.draw();
  }

  move(ms) {
    this.end += ms;
    this.live = this.end >= Date.now() && ms >= 0;
    this.draw();
  }

  listen() {
    let drag = null;
    this.canvas.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, moved: false }; this.canvas.setPointerCapture(event.pointerId); });
    this.canvas.addEventListener("pointermove", (event) => {
      if (drag) {
        const dx = event.clientX - drag.x;
        if (Math.abs(dx) > 3 || drag.moved) { drag.moved = true; drag.x = event.clientX; this.move(-dx / this.canvas.clientWidth * this.window); }
        return;
      }
      const each = this.at(event);
      this.over = each;
      this.canvas.style.cursor = each ? "pointer" : "grab";
      this.tip.hidden = !each;
      if (!each) return;
      this.tip.textContent = `${jobName(each.key)}\n${each.outcome || "running"}${each.exit_code ? `, exit code ${each.exit_code}` : ""}${each.attempt > 1 ? `, attempt ${each.attempt}` : ""}\n${moment(each.started_at)} · ${duration((each.ended_at || Date.now()) - each.started_at)}\non ${each.worker}`;
      const box = this.node.getBoundingClientRect();
      this.tip.style.left = `${Math.min(event.clientX - box.left + 14, Math.max(0, box.width - this.tip.offsetWidth - 8))}px`;
      this.tip.style.top = `${event.clientY - box.top + 16}px`;
    });
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; this.over = null; });
    this.canvas.addEventListener("pointerup", (event) => {
      const each = !drag?.moved && this.at(event);
      drag = null;
      if (each) this.onChoose(each.key);
    });
    this.canvas.addEventListener("pointercancel", () => { drag = null; });
    this.canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        this.zoom(Math.exp(event.deltaY * 0.003), (event.clientX - this.canvas.getBoundingClientRect().left) / this.canvas.clientWidth);
      } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        this.move(event.deltaX / this.canvas.clientWidth * this.window);
      }
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const action = { ArrowLeft: () => this.move(-this.window / 8), ArrowRight: () => this.move(this.window / 8), "+": () => this.zoom(0.7), "-": () => this.zoom(1.4) }[event.key];
      if (action) { event.preventDefault(); action(); }
    });
  }
}
