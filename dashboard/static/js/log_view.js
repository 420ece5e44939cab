// The log of a job: live, followed, searched; only the lines on the screen are elements.
import { pieces, plain } from "./ansi.js";
import { getBytes, tell } from "./api.js";
import { h, show } from "./dom.js";
import { bytes as sizeText, jobApi } from "./format.js";
import { LogBuffer } from "./log_buffer.js";

const LINE = 19, AROUND = 30, MIN_HEIGHT = 150;
const GAP_MS = 150;
const FIRST = 12 * 1024 * 1024, PART = 4 * 1024 * 1024;
const ERROR = /\b(\w*error|\w*exception|traceback|fatal|panic|critical|failed|failure|segmentation fault)\b/i;

export class LogView {
  constructor(node, key) {
    Object.assign(this, { key, attempt: 0, latest: 0, buffer: new LogBuffer(), follow: true, loading: null, queue: [], size: 0, ended: false, matches: [], current: -1, needle: "", searched: 0, pending: false });
    this.count = h("span", { class: "count" });
    this.search = h("input", { type: "search", placeholder: "Search the log", "aria-label": "Search the log" });
    this.found = h("span", { class: "count", role: "status" });
    this.followButton = h("button", { type: "button", class: "button small", "aria-pressed": "true", onclick: () => this.setFollow(!this.follow) }, "Follow");
    this.select = h("select", { "aria-label": "Attempt", hidden: true, onchange: () => this.open(Number(this.select.value)) });
    this.downloadLink = h("a", { class: "button small", href: "#", download: "" }, "Download");
    const small = (words, name, action) => h("button", { type: "button", class: "button small", title: name, "aria-label": name, onclick: action }, words);
    this.space = h("div", { class: "log-space" });
    this.note = h("div", { class: "log-note" }, "Loading…");
    this.view = h("div", { class: "log-view", tabindex: "0", role: "log", "aria-label": "Output", "aria-live": "off" }, this.note, this.space);
    show(node,
      h("div", { class: "log-bar" }, h("h2", {}, "Output"), this.select, this.count, h("span", { class: "spring" }),
        this.search, this.found, small("↑", "Match before", () => this.step(-1)), small("↓", "Next match", () => this.step(1)),
        small("Error", "Jump to the next line that tells of an error", () => this.nextError()), this.followButton, this.downloadLink),
      this.view);
    this.setFollow(true);
    this.view.addEventListener("scroll", () => this.scrolled());
    new ResizeObserver(() => this.draw()).observe(this.view);
    this.search.addEventListener("input", () => this.find());
    this.search.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.step(event.shiftKey ? -1 : 1); } });
    this.view.addEventListener("keydown", (event) => {
      if (event.key === "End") this.setFollow(true);
      if (event.key === "Home") { this.setFollow(false); this.view.scrollTop = 0; }
      if (event.key === "/") { event.preventDefault(); this.search.focus(); }
    });
  }

  /** Handlers for the events of topic log:KEY. */
  handlers() {
    return {
      logstart: (event) => this.started(event),
      log: (event) => { if (this.loading) this.queue.push(event); else this.take(event); },
      logend: (event) => this.finished(event),
    };
  }

  /** The stream of events is open (again): read what came before it, or was missed. */
  connected() { this.load(); }

  setAttempts(latest) {
    if (latest === this.latest) return;
    const following = !this.attempt || this.attempt === this.latest;
    this.latest = latest;
    show(this.select, Array.from({ length: latest }, (_, number) => h("option", { value: String(number + 1) }, `Attempt ${number + 1}`)).reverse());
    this.select.hidden = latest < 2;
    this.select.value = String(this.attempt || latest);
    if (following && latest > 1 && latest !== this.attempt) this.open(latest);
  }

  open(attempt) {
    this.attempt = attempt;
    this.select.value = String(attempt);
    this.ended = false;
    this.reset(0);
    this.load();
  }

  reset(offset) {
    this.buffer.reset(offset);
    this.skippedBytes = offset;
    this.queue = [];
    this.generation = (this.generation || 0) + 1;
    this.matches = [];
    this.searched = 0;
    this.current = -1;
    this.draw();
  }

  // --- bytes ---

  started(event) {
    if (event.attempt > this.latest) this.setAttempts(event.attempt);
    if (!this.attempt && event.attempt) this.open(event.attempt);
  }

  finished(event) {
    if (event.error) { this.note.textContent = event.error; return; }
    if (event.attempt !== this.attempt) return;
    this.ended = true;
    this.size = event.size;
    if (this.buffer.position < event.size) this.load();
    this.draw();
  }

  /** Output as it comes. `hole`: the master does not have what lies before it, and never will again. */
  take(event, hole = false) {
    if (event.attempt !== this.attempt) {
      if (event.attempt > this.attempt && (!this.attempt || this.attempt === this.latest)) this.started(event);
      return;
    }
    if (event.offset > this.buffer.position && !hole) {
      this.queue.push(event);
      this.loadLater(GAP_MS); // the master's log may be a little behind what comes straight from the worker
      return;
    }
    this.feed(event.offset, Uint8Array.from(atob(event.data), (char) => char.charCodeAt(0)));
  }

  feed(offset, data) {
    if (!this.buffer.add(offset, data)) return;
    this.size = Math.max(this.size, this.buffer.position);
    this.drawSoon();
  }

  /** From the master's log, from where we are to its end; then what the events brought meanwhile. */
  load() {
    if (this.loading) { this.again = true; return; }
    clearTimeout(this.later);
    const generation = this.generation;
    let hole = false, failed = null;
    this.loading = this.read(generation).then((found) => { hole = found; }, (error) => { failed = error; }).finally(() => {
      this.loading = null;
      if (this.again || generation !== this.generation) { this.again = false; this.load(); return; }
      const queue = this.queue;
      this.queue = [];
      this.problem = failed?.message;
      if (failed) {
        if (failed.status !== 404) { tell(`The log cannot be read: ${failed.message}`, { bad: true }); this.loadLater(5000); }
      } else for (const event of queue) this.take(event, hole);
      this.draw();
    });
  }

  loadLater(ms) {
    clearTimeout(this.later);
    this.later = setTimeout(() => this.load(), ms);
  }

  /** Resolves to whether the log has a hole where we are. */
  async read(generation) {
    let first = this.buffer.position === 0;
    for (;;) {
      const offset = first ? -FIRST : this.buffer.position;
      const answer = await getBytes(jobApi(this.key, `log?attempt=${this.attempt}&offset=${offset}&limit=${PART}`));
      if (generation !== this.generation) return false;
      const header = (name) => Number(answer.headers.get(`X-Titan-${name}`));
      const data = new Uint8Array(await answer.arrayBuffer());
      if (generation !== this.generation) return false;
      if (!this.attempt) { this.attempt = header("Attempt"); if (this.attempt > this.latest) { this.latest = 0; this.setAttempts(this.attempt); } }
      if (first && header("Offset") > 0) { this.buffer.reset(header("Offset")); this.skippedBytes = header("Offset"); }
      first = false;
      this.size = Math.max(this.size, header("Size"));
      this.ended = header("Finished") === 1 && header("Attempt") === this.attempt;
      this.feed(header("Offset"), data);
      if (this.buffer.position >= header("Size")) return false;
      if (!data.length) return true;
    }
  }

  // --- the screen ---

  drawSoon() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.draw(); });
  }

  setFollow(on) {
    this.follow = on;
    this.followButton.setAttribute("aria-pressed", String(on));
    this.followButton.classList.toggle("primary", on);
    if (on) { this.view.scrollTop = this.view.scrollHeight; this.draw(); }
  }

  scrolled() {
    const atEnd = this.view.scrollTop + this.view.clientHeight >= this.space.offsetHeight - LINE;
    if (atEnd !== this.follow && Date.now() - (this.placed || 0) > 60) this.setFollow(atEnd);
    this.draw();
  }

  draw() {
    const { lines, dropped } = this.buffer;
    const total = lines.length;
    // Lines fall away at the top: what is on the screen stays where it is.
    if (this.before !== undefined && dropped > this.before && !this.follow) this.view.scrollTop -= (dropped - this.before) * LINE;
    this.before = dropped;
    this.space.style.height = `${total * LINE}px`;
    this.view.style.height = `clamp(${MIN_HEIGHT}px, ${total * LINE + 24}px, min(58vh, 600px))`;
    this.space.style.width = `max(100%, ${Math.min(this.buffer.longest, 20_000) + 12}ch)`;
    this.note.hidden = total > 0;
    if (!total && !this.loading) this.note.textContent = this.problem ? this.problem : this.ended ? "It printed nothing." : this.attempt ? "Nothing printed yet; output shows up here as it comes." : "It has not started yet; output shows up here as it comes.";
    this.count.textContent = `${(total + dropped).toLocaleString()} ${total + dropped === 1 ? "line" : "lines"} · ${sizeText(this.size)}${this.ended ? "" : " · live"}`;
    this.count.title = this.skippedBytes || dropped ? "The last lines; the download has all" : "";
    this.downloadLink.href = `/api/v1${jobApi(this.key, `log/download?attempt=${this.attempt}`)}`;
    if (this.needle) this.find(false);
    if (this.follow) { this.placed = Date.now(); this.view.scrollTop = total * LINE; }
    const from = Math.max(0, Math.floor(this.view.scrollTop / LINE) - AROUND);
    const to = Math.min(total, Math.ceil((this.view.scrollTop + this.view.clientHeight) / LINE) + AROUND);
    const shown = [];
    const matched = new Set(this.matches);
    for (let index = from; index < to; index += 1) shown.push(this.line(index, matched));
    this.space.replaceChildren(...shown);
  }

  line(index, matched) {
    const raw = this.buffer.lines[index];
    const number = this.buffer.dropped + index;
    let name = "log-line";
    if (ERROR.test(raw)) name += " error";
    if (matched.has(number)) name += number === this.matches[this.current] ? " found current" : " found";
    const node = h("div", { class: name }, h("span", { class: "no" }, String(number + 1)),
      pieces(raw, this.buffer.start(index)).map((piece) => (piece.classes ? h("span", { class: piece.classes }, piece.text) : piece.text)));
    node.style.top = `${index * LINE}px`;
    return node;
  }

  jump(number) {
    this.setFollow(false);
    this.placed = Date.now();
    this.view.scrollTop = Math.max(0, (number - this.buffer.dropped) * LINE - this.view.clientHeight / 2);
    this.draw();
  }

  // --- finding ---

  find(fresh = true) {
    const needle = this.search.value.toLowerCase();
    if (fresh || needle !== this.needle) {
      this.needle = needle;
      this.matches = [];
      this.searched = this.buffer.dropped;
      this.current = -1;
    }
    if (!needle) { this.found.textContent = ""; if (fresh) this.draw(); return; }
    const { lines, dropped, open } = this.buffer;
    for (let number = Math.max(this.searched, dropped); number < dropped + lines.length - (open ? 1 : 0); number += 1) {
      if (plain(lines[number - dropped]).toLowerCase().includes(needle)) this.matches.push(number);
    }
    this.searched = Math.max(this.searched, dropped + lines.length - (open ? 1 : 0));
    this.found.textContent = this.matches.length ? `${this.current + 1 || "–"} / ${this.matches.length}` : "none";
    if (fresh) { if (this.matches.length) this.step(1); else this.draw(); }
  }

  step(by) {
    if (!this.matches.length) return;
    this.current = (this.current + by + this.matches.length) % this.matches.length;
    if (this.matches[this.current] < this.buffer.dropped) this.current = this.matches.findIndex((number) => number >= this.buffer.dropped);
    this.found.textContent = `${this.current + 1} / ${this.matches.length}`;
    this.jump(this.matches[this.current]);
  }

  nextError() {
    const { lines, dropped } = this.buffer;
    const from = this.lastError !== undefined && this.lastError >= dropped ? this.lastError - dropped + 1 : 0;
    for (let step = 0; step < lines.length; step += 1) {
      const index = (from + step) % lines.length;
      if (ERROR.test(lines[index])) {
        this.lastError = dropped + index;
        this.jump(this.lastError);
        return;
      }
    }
    tell("No line here tells of an error.");
  }
}
