import { $, empty, h, segments, show } from "../dom.js";
import { listen } from "../events.js";
import { badge, jobName, jobUrl, running, runUrl, when } from "../format.js";
import { mini } from "../progress.js";
import { agentRuns, stateOf } from "../run_tree.js";

const SHOWN = 60;
const runs = new Map();
const closed = new Set(); // groups and runs that somebody has folded
let state = "";

const counted = (count, thing) => `${count.toLocaleString()} ${thing}${count === 1 ? "" : "s"}`;

function fold(key, summary, content, attributes = {}) {
  return h("details", { open: !closed.has(key), ...attributes, ontoggle: (event) => { if (event.target.open) closed.delete(key); else closed.add(key); } },
    h("summary", { data: { key } }, summary), content);
}

function line({ run }) {
  return h("span", { class: "tree-line" }, h("a", { href: runUrl(run.run_id), data: { key: `run-${run.run_id}` } }, run.name || run.run_id), badge(run.state),
    run.open && h("span", { class: "chip", title: "Jobs may still be added" }, "open"), mini(run),
    h("small", { class: "muted" }, counted(run.total, "job"), run.parent && [" · by ", h("a", { href: jobUrl(run.parent) }, jobName(run.parent))], " · ", running(run.submitted_at, run.finished ? run.ended_at || run.submitted_at : 0)));
}

function branch(node) {
  return h("li", {}, node.children.length ? fold(node.run.run_id, line(node), h("ul", {}, node.children.map(branch))) : h("div", { class: "leaf" }, line(node)));
}

function group(each) {
  const jobs = each.runs.reduce((sum, run) => sum + run.total, 0);
  const first = Math.min(...each.runs.map((run) => run.submitted_at));
  return h("section", { class: "card agent" }, fold(each.key,
    h("span", { class: "tree-line" }, h("b", {}, each.name || each.trees[0].run.name || each.trees[0].run.run_id), badge(stateOf(each.runs)),
      h("small", { class: "muted" }, `${counted(each.runs.length, "run")}, ${counted(jobs, "job")} · begun `, when(first))),
    h("ul", { class: "tree" }, each.trees.map(branch))));
}

function draw() {
  const needle = $("search").value.toLowerCase();
  const all = agentRuns(runs.values());
  const found = all.filter((each) => (!state || (state === "open" ? each.runs.some((run) => !run.finished) : stateOf(each.runs) === state))
    && (!needle || each.name.toLowerCase().includes(needle) || each.runs.some((run) => [run.name, run.run_id, run.parent].some((text) => text.toLowerCase().includes(needle)))));
  show($("agents"), found.length ? found.slice(0, SHOWN).map(group)
    : h("section", { class: "card" }, all.length ? empty("No agent run is like that", "Change the search or the state.")
      : empty("No agent runs yet", "Runs that a job submits while it runs hang below it here, and runs that name the same ", h("code", {}, "agent_run_id"), " stand together.")),
  found.length > SHOWN && h("p", { class: "hint empty" }, `The newest ${SHOWN} of ${found.length}; the search finds the others.`));
}

let dirty = false;
function drawSoon() {
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => { dirty = false; draw(); });
}

$("search").value = new URLSearchParams(location.search).get("search") || "";
$("search").addEventListener("input", draw);
segments($("states"), [["", "All"], ["open", "Open"], ["COMPLETED", "Completed"], ["DEAD", "Failed"]], "", (chosen) => { state = chosen; draw(); });
listen(["runs"], {
  runs: (data) => {
    if (data.all) runs.clear();
    for (const run of data.runs) runs.set(run.run_id, run);
    drawSoon();
  },
});
