// A graph of jobs that can be moved, zoomed and clicked; for the builder also connected and cut.
import { HEIGHT, WIDTH, layout } from "./dag_layout.js";
import { h, s } from "./dom.js";

const FAR = 0.42;

export class DagView {
  /** onChoose(id); editable: {connect(from, to), cut(from, to)}. */
  constructor(node, { onChoose, editable = null, label = "Graph of the jobs" }) {
    Object.assign(this, { node, onChoose, editable, scale: 1, x: 0, y: 0, shape: "", elements: new Map(), edges: [], chosen: null });
    this.world = s("g", {});
    this.svg = s("svg", { role: "group", "aria-label": label, tabindex: "0" },
      s("defs", {}, s("marker", { id: "arrow", viewBox: "0 0 8 8", refX: "7", refY: "4", markerWidth: "7", markerHeight: "7", orient: "auto" }, s("path", { class: "arrow", d: "M0,0.8L7,4L0,7.2z" }))),
      this.world);
    const tool = (words, name, action) => h("button", { type: "button", class: "button small", "aria-label": name, title: name, onclick: action }, words);
    node.append(this.svg, h("div", { class: "graph-tools" },
      tool("+", "Zoom in", () => this.zoom(1.3)), tool("−", "Zoom out", () => this.zoom(1 / 1.3)), tool("Fit", "Show all of it", () => this.fit())));
    this.listen();
    new ResizeObserver(() => { if (!this.moved) this.fit(); }).observe(node);
  }

  /** nodes: [{id, parents, state, sub}]. What has not changed its shape keeps its place on the screen. */
  draw(nodes) {
    const shape = JSON.stringify(nodes.map((node) => [node.id, node.parents]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(nodes);
      if (!this.moved || this.editable) this.fit();
    }
    this.update(nodes);
  }

  /** New states of some nodes. */
  update(nodes) {
    for (const node of nodes) {
      const found = this.elements.get(node.id);
      if (!found) continue;
      const name = `node ${node.state || ""}${node.id === this.chosen ? " chosen" : ""}`;
      if (found.group.getAttribute("class") !== name) found.group.setAttribute("class", name);
      if (found.sub.textContent !== (node.sub || "")) found.sub.textContent = node.sub || "";
      found.group.setAttribute("aria-label", `${node.id}, ${node.state || "job"}${node.sub ? `, ${node.sub}` : ""}`);
      found.state = node.state;
    }
    for (const edge of this.edges) {
      const live = this.elements.get(edge.to)?.state === "RUNNING";
      edge.path.setAttribute("class", live ? "edge live" : "edge");
    }
  }

  choose(id) {
    this.elements.get(this.chosen)?.group.classList.remove("chosen");
    this.chosen = id;
    this.elements.get(id)?.group.classList.add("chosen");
  }

  build(nodes) {
    const { places, width, height } = layout(nodes);
    Object.assign(this, { places, width, height });
    this.elements.clear();
    this.edges = [];
    const edges = s("g", {}), bodies = s("g", {});
    for (const node of nodes) {
      const to = places.get(node.id);
      for (const parent of new Set(node.parents)) {
        const from = places.get(parent);
        if (!from || parent === node.id) continue;
        const d = curve(from.x + WIDTH, from.y + HEIGHT / 2, to.x - 2, to.y + HEIGHT / 2);
        const path = s("path", { class: "edge", d, "marker-end": "url(#arrow)" });
        if (this.editable) {
          edges.append(s("path", { class: "edge hit", d, onclick: () => this.editable.cut(parent, node.id) }, s("title", {}, `Cut ${parent} → ${node.id}`)));
        }
        edges.append(path);
        this.edges.push({ from: parent, to: node.id, path });
      }
      bodies.append(this.body(node, to));
    }
    this.world.replaceChildren(edges, bodies);
  }

  body(node, { x, y }) {
    const sub = s("text", { class: "sub", x: 16, y: 34 });
    const group = s("g", { class: "node", tabindex: "0", role: "button", transform: `translate(${x} ${y})`, "data-id": node.id },
      s("title", {}, node.id),
      s("rect", { class: "body", width: WIDTH, height: HEIGHT, rx: 8 }),
      s("rect", { class: "mark", x: 0.6, y: 0.6, width: 5.5, height: HEIGHT - 1.2, rx: 2.5 }),
      s("text", { x: 16, y: 19 }, short(node.id)), sub);
    group.addEventListener("click", () => { if (!this.dragged) this.onChoose(node.id); });
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.onChoose(node.id); }
    });
    if (this.editable) {
      const port = s("circle", { class: "port", cx: WIDTH, cy: HEIGHT / 2, r: 6 }, s("title", {}, "Drag to a job that is to follow"));
      port.addEventListener("pointerdown", (event) => this.startEdge(event, node.id));
      group.append(port);
    }
    this.elements.set(node.id, { group, sub, state: node.state });
    return group;
  }

  // --- moving and zooming ---

  apply() {
    this.world.setAttribute("transform", `translate(${this.x.toFixed(1)} ${this.y.toFixed(1)}) scale(${this.scale.toFixed(4)})`);
    this.svg.classList.toggle("far", this.scale < FAR);
  }

  fit() {
    const box = this.node.getBoundingClientRect();
    if (!this.places?.size || !box.width) return;
    this.moved = false;
    this.scale = Math.min(1.15, (box.width - 48) / this.width, (box.height - 56) / this.height);
    this.x = (box.width - this.width * this.scale) / 2;
    this.y = (box.height - this.height * this.scale) / 2;
    this.apply();
  }

  zoom(factor, px = this.node.clientWidth / 2, py = this.node.clientHeight / 2) {
    const scale = Math.min(2.5, Math.max(0.04, this.scale * factor));
    this.x = px - (px - this.x) * scale / this.scale;
    this.y = py - (py - this.y) * scale / this.scale;
    this.scale = scale;
    this.moved = true;
    this.apply();
  }

  listen() {
    const pointers = new Map();
    let spread = 0;
    this.svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && this.scale >= 0.999 && Math.abs(event.deltaY) > Math.abs(event.deltaX) && !this.moved) return;
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = this.svg.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * 0.004), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    this.svg.addEventListener("pointerdown", (event) => {
      if (this.draft) return;
      pointers.set(event.pointerId, event);
      this.dragged = false;
    });
    window.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      if (pointers.size === 2) {
        const other = [...pointers.entries()].find(([id]) => id !== event.pointerId)[1];
        const distance = Math.hypot(event.clientX - other.clientX, event.clientY - other.clientY);
        const box = this.svg.getBoundingClientRect();
        if (spread) this.zoom(distance / spread, (event.clientX + other.clientX) / 2 - box.left, (event.clientY + other.clientY) / 2 - box.top);
        spread = distance;
      } else {
        const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
        if (!this.dragged && Math.hypot(dx, dy) < 4) return;
        this.dragged = true;
        this.svg.classList.add("moving");
        this.x += dx;
        this.y += dy;
        this.moved = true;
        this.apply();
      }
      pointers.set(event.pointerId, event);
    });
    const up = (event) => { pointers.delete(event.pointerId); spread = 0; this.svg.classList.remove("moving"); };
    window.addEventListener("pointerup", up);
    window.addEventListener("pointercancel", up);
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      if (step && event.target === this.svg) { this.x += step[0]; this.y += step[1]; this.moved = true; this.apply(); event.preventDefault(); }
      if (event.key === "+") this.zoom(1.3);
      if (event.key === "-") this.zoom(1 / 1.3);
      if (event.key === "0") this.fit();
    });
  }

  // --- drawing an edge ---

  startEdge(event, from) {
    event.stopPropagation();
    event.preventDefault();
    const place = this.places.get(from);
    const path = s("path", { class: "edge draft" });
    this.world.append(path);
    this.draft = path;
    const at = (each) => {
      const box = this.svg.getBoundingClientRect();
      return [(each.clientX - box.left - this.x) / this.scale, (each.clientY - box.top - this.y) / this.scale];
    };
    const move = (each) => path.setAttribute("d", curve(place.x + WIDTH, place.y + HEIGHT / 2, ...at(each)));
    const drop = (each) => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", drop);
      path.remove();
      this.draft = null;
      const target = document.elementFromPoint(each.clientX, each.clientY)?.closest(".node");
      if (target && target.dataset.id !== from) this.editable.connect(from, target.dataset.id);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", drop);
  }
}

function curve(x1, y1, x2, y2) {
  const bend = Math.max(24, Math.min(90, Math.abs(x2 - x1) / 2));
  return `M${x1},${y1}C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`;
}

function short(text) {
  const letters = [...text];
  return letters.length <= 20 ? text : `${letters.slice(0, 12).join("")}…${letters.slice(-7).join("")}`;
}
