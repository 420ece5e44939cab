// Runs as trees: a run hangs below the run whose job has submitted it. Summaries in, trees out; no elements here.

const runOf = (key) => key.slice(0, key.indexOf("/"));

/** Trees [{run, children}] of these runs, the newest first; what a run's parent is when it is not among them does not matter. */
export function forest(runs) {
  const nodes = new Map([...runs].map((run) => [run.run_id, { run, children: [] }]));
  const roots = [];
  for (const node of nodes.values()) {
    const above = node.run.parent && nodes.get(runOf(node.run.parent));
    if (above && above !== node && !within(node, above)) above.children.push(node); else roots.push(node);
  }
  const order = (a, b) => a.run.submitted_at - b.run.submitted_at || a.run.run_id.localeCompare(b.run.run_id);
  for (const node of nodes.values()) node.children.sort(order);
  return roots.sort((a, b) => order(b, a));
}

function within(node, wanted) {
  return node.children.some((each) => each === wanted || within(each, wanted));
}

export function* all(node) {
  yield node.run;
  for (const child of node.children) yield* all(child);
}

/** Groups [{name, trees, runs}]: one for each agent run, one for each tree that names none. */
export function agentRuns(runs) {
  const groups = new Map();
  for (const tree of forest(runs)) {
    const named = tree.run.agent_run_id || "";
    if (!named && !tree.children.length) continue;
    const key = named || `tree ${tree.run.run_id}`;
    if (!groups.has(key)) groups.set(key, { key, name: named, trees: [], runs: [] });
    groups.get(key).trees.push(tree);
    groups.get(key).runs.push(...all(tree));
  }
  return [...groups.values()];
}

export function stateOf(runs) {
  const states = new Set(runs.map((run) => run.state));
  if (runs.some((run) => !run.finished)) return states.has("RUNNING") ? "RUNNING" : "PENDING";
  return ["DEAD", "CANCELLED"].find((state) => states.has(state)) || "COMPLETED";
}
