// Elements from calls: text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
    else if (name === "data") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((each) => each !== null && each !== undefined && each !== false));
  return node;
}

/** An HTML element: h("a", {href: "/"}, "Home"). */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

export const $ = (id) => document.getElementById(id);

/** Children of a node, replaced; what has the focus keeps it when an element with the same data-key is there again. */
export function show(node, ...children) {
  const focused = document.activeElement;
  const key = node.contains(focused) ? focused.dataset?.key : null;
  node.replaceChildren(...children.flat(9).filter(Boolean));
  if (key) node.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

export const empty = (title, ...text) => h("div", { class: "empty" }, h("b", {}, title), ...text);

/** Buttons of which one is chosen. */
export function segments(node, choices, chosen, onChange) {
  const draw = (value) => show(node, ...choices.map(([key, words]) => h("button", {
    type: "button", "aria-pressed": String(key === value), data: { key },
    onclick: () => { draw(key); onChange(key); },
  }, words)));
  draw(chosen);
}
