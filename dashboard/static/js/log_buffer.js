// A log's bytes as lines: the last MAX_LINES of them, whatever comes in.
import { PLAIN, after } from "./ansi.js";

export const MAX_LINES = 100_000;
const SPARE = 10_000;
const MAX_LINE = 20_000;

export class LogBuffer {
  constructor(offset = 0) { this.reset(offset); }

  reset(offset) {
    this.position = offset;
    this.lines = [];
    this.starts = new Map(); // number of a line -> state that it begins in, when it is not plain
    this.dropped = 0; // lines before lines[0]
    this.open = false; // the last line has no end yet
    this.state = PLAIN; // at the beginning of the last line when open, else of the next
    this.decoder = new TextDecoder("utf-8");
    this.longest = 0;
  }

  /** Bytes that begin at `offset`; how many of them were new. What lies between is not there any more. */
  add(offset, bytes) {
    if (offset > this.position) {
      this.append(`… ${(offset - this.position).toLocaleString()} bytes are not there any more …`, true);
      this.position = offset;
    }
    const skip = this.position - offset;
    if (skip >= bytes.length) return 0;
    const fresh = skip > 0 ? bytes.subarray(skip) : bytes;
    this.position += fresh.length;
    const parts = this.decoder.decode(fresh, { stream: true }).split("\n");
    for (let number = 0; number < parts.length; number += 1) {
      const ended = number < parts.length - 1;
      if (number === parts.length - 1 && parts[number] === "" ) break;
      this.append(parts[number], ended);
    }
    if (this.lines.length > MAX_LINES + SPARE) {
      const cut = this.lines.length - MAX_LINES;
      this.lines.splice(0, cut);
      this.dropped += cut;
      for (const number of this.starts.keys()) if (number < this.dropped) this.starts.delete(number);
    }
    return fresh.length;
  }

  append(text, ended) {
    let line = text;
    if (this.open) {
      line = this.lines.pop() + text;
    }
    // A line that never ends must not grow without end; its middle is not missed.
    if (line.length > MAX_LINE) line = `${line.slice(0, MAX_LINE / 2)} … ${line.slice(-MAX_LINE / 2 + 100)}`;
    if (this.state !== PLAIN) this.starts.set(this.dropped + this.lines.length, this.state);
    this.lines.push(line);
    this.longest = Math.max(this.longest, Math.min(line.length, MAX_LINE));
    this.open = !ended;
    if (ended) this.state = after(line, this.state);
  }

  start(index) { return this.starts.get(this.dropped + index) || PLAIN; }
}
