// Layers from left to right: a job stands one layer after the last of its parents; within a layer near its neighbours.

export const WIDTH = 168, HEIGHT = 46;
const GAP_X = 64, GAP_Y = 16, MAX_ROWS = 12, SWEEPS = 6;

/**
 * Places for nodes [{id, parents: [id]}]: {places: Map id -> {x, y}, width, height}. Parents that are not there and
 * cycles do no harm. A layer of more than MAX_ROWS nodes may take several
 * columns.
 */
export function layout(nodes) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(nodes.map((node) => [node.id, [...new Set(node.parents)].filter((id) => byId.has(id) && id !== node.id)]));
  const children = new Map(nodes.map((node) => [node.id, []]));
  for (const [id, list] of parents) for (const parent of list) children.get(parent).push(id);

  // Longest path from a root, by Kahn's order; what is in a cycle comes last.
  const layer = new Map();
  const missing = new Map([...parents].map(([id, list]) => [id, list.length]));
  const ready = nodes.filter((node) => !missing.get(node.id)).map((node) => node.id);
  for (const id of ready) layer.set(id, 0);
  for (let next = 0; next < ready.length; next += 1) {
    const id = ready[next];
    for (const child of children.get(id)) {
      layer.set(child, Math.max(layer.get(child) ?? 0, layer.get(id) + 1));
      missing.set(child, missing.get(child) - 1);
      if (!missing.get(child)) ready.push(child);
    }
  }
  const last = Math.max(0, ...layer.values());
  for (const node of nodes) if (missing.get(node.id)) layer.set(node.id, last + 1);

  const layers = [];
  for (const node of nodes) (layers[layer.get(node.id)] ||= []).push(node.id);
  const rank = new Map();
  const number = () => layers.forEach((ids) => ids?.forEach((id, index) => rank.set(id, index / Math.max(1, ids.length - 1 || 1))));
  number();
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const neighbours = sweep % 2 ? children : parents;
    for (const ids of sweep % 2 ? layers.slice().reverse() : layers) {
      if (!ids) continue;
      const weight = new Map(ids.map((id) => {
        const near = neighbours.get(id);
        return [id, near.length ? near.reduce((sum, each) => sum + rank.get(each), 0) / near.length : rank.get(id)];
      }));
      ids.sort((a, b) => weight.get(a) - weight.get(b));
    }
    number();
  }

  const places = new Map();
  // Big layers become blocks, of as many rows as give the whole about twice the width of its height, as a screen has it.
  const sizes = layers.filter(Boolean).map((ids) => ids.length);
  const even = (count, most) => Math.ceil(count / Math.ceil(count / most));
  const shape = (most) => sizes.reduce((sum, count) => sum + Math.ceil(count / even(count, most)) * (WIDTH + 20) + GAP_X - 20, 0) / (Math.max(...sizes.map((count) => even(count, most))) * (HEIGHT + GAP_Y));
  let most = MAX_ROWS;
  for (const biggest = Math.max(1, ...sizes); most < biggest && shape(most) > 2; most += 1);
  const rowsOf = (count) => even(count, most);
  const tallest = Math.max(1, ...layers.map((ids) => (ids ? rowsOf(ids.length) : 0)));
  const height = tallest * (HEIGHT + GAP_Y) - GAP_Y;
  let x = 0;
  for (const ids of layers) {
    if (!ids) continue;
    const rows = rowsOf(ids.length);
    const columns = Math.ceil(ids.length / rows);
    ids.forEach((id, index) => {
      const column = Math.floor(index / rows);
      const inColumn = Math.min(rows, ids.length - column * rows);
      const top = (height - (inColumn * (HEIGHT + GAP_Y) - GAP_Y)) / 2;
      places.set(id, { x: x + column * (WIDTH + 20), y: top + (index % rows) * (HEIGHT + GAP_Y) });
    });
    x += columns * (WIDTH + 20) - 20 + GAP_X;
  }
  return { places, width: Math.max(WIDTH, x - GAP_X), height };
}
