// A line of output as pieces with classes: colours of the terminal are kept, everything else that controls is made visible.

const SEQUENCE = /\x1b(?:\[([0-9;:?]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)/g;
// What a terminal obeys, and what reorders or hides text: shown, never obeyed.
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export const PLAIN = "";

/** The state after a line, from the state before it; states are lists of classes as text. */
export function after(line, state) {
  if (!line.includes("\x1b")) return state;
  let classes = state;
  for (const match of line.matchAll(SEQUENCE)) if (match[2] === "m") classes = sgr(match[1], classes);
  return classes;
}

function sgr(text, state) {
  const codes = (text || "0").split(/[;:]/).map(Number);
  let on = new Set(state ? state.split(" ") : []);
  const colour = (name) => { on = new Set([...on].filter((each) => !/^c\d+$/.test(each))); if (name) on.add(name); };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i];
    if (code === 0) on.clear();
    else if (code === 1) on.add("b");
    else if (code === 2) on.add("f");
    else if (code === 3) on.add("it");
    else if (code === 4) on.add("u");
    else if (code === 7) on.add("inv");
    else if (code === 9) on.add("st");
    else if (code === 22) { on.delete("b"); on.delete("f"); }
    else if (code === 23) on.delete("it");
    else if (code === 24) on.delete("u");
    else if (code === 27) on.delete("inv");
    else if (code === 29) on.delete("st");
    else if (code >= 30 && code <= 37) colour(`c${code - 30}`);
    else if (code >= 90 && code <= 97) colour(`c${code - 82}`);
    else if (code === 39) colour(null);
    else if (code === 38 || code === 48) {
      const kind = codes[i + 1];
      if (kind === 5) { if (code === 38) colour(`c${nearest(codes[i + 2])}`); i += 2; }
      else if (kind === 2) { if (code === 38) colour(`c${ofRgb(codes[i + 2], codes[i + 3], codes[i + 4])}`); i += 4; }
    }
  }
  return [...on].join(" ");
}

// Of 256 colours and of true colour the sixteen are enough, which the theme keeps readable.
function nearest(index) {
  if (index < 16) return index;
  if (index >= 232) return index < 238 ? 0 : index < 250 ? 8 : 7;
  const cube = index - 16;
  return ofRgb(Math.floor(cube / 36) * 51, Math.floor(cube / 6) % 6 * 51, cube % 6 * 51);
}
function ofRgb(r, g, b) {
  const bright = Math.max(r, g, b) > 180 ? 8 : 0;
  const cut = Math.max(r, g, b) / 2 + 1;
  return ((r > cut ? 1 : 0) | (g > cut ? 2 : 0) | (b > cut ? 4 : 0)) + bright;
}

function visible(char) {
  const code = char.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `\u2329U+${code.toString(16).toUpperCase().padStart(4, "0")}\u232a`;
}

/** Text without sequences, as people see it: of a line that was overwritten (\r) the last state. */
export function plain(line) {
  return overwritten(line).replace(SEQUENCE, "").replace(CONTROL, visible);
}

function overwritten(line) {
  const end = line.endsWith("\r") ? line.slice(0, -1) : line;
  const cut = end.lastIndexOf("\r");
  return cut < 0 ? end : end.slice(cut + 1);
}

/** Pieces [{text, classes}] of a line that begins in a state. */
export function pieces(line, state) {
  const text = overwritten(line);
  const found = [];
  let classes = state, from = 0;
  const add = (part) => {
    let last = 0;
    for (const match of part.matchAll(CONTROL)) {
      if (match.index > last) found.push({ text: part.slice(last, match.index), classes });
      found.push({ text: visible(match[0]), classes: "ctl" });
      last = match.index + match[0].length;
    }
    if (last < part.length) found.push({ text: part.slice(last), classes });
  };
  for (const match of text.matchAll(SEQUENCE)) {
    add(text.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") classes = sgr(match[1], classes);
  }
  add(text.slice(from));
  return found;
}
