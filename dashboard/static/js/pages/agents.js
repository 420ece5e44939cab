import { act, get } from "../api.js";
import { $, empty, h, segments, show } from "../dom.js";
import { listen } from "../events.js";
import { badge, jobName, jobUrl, running, runUrl, when } from "../format.js";
import { mini } from "../progress.js";
import { agentRuns, stateOf } from "../run_tree.js";

const SHOWN = 60;
const runs = new Map(); // the newest of the cluster
const fetched = new Map(); // those of agent runs that somebody wanted to see whole
let known = new Map(); // agent runs as the master counts them, however long ago
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
      h("small", { class: "muted" }, `${counted(each.runs.length, "run")}, ${counted(jobs, "job")} · begun `, when(first)),
      known.get(each.name)?.runs > each.runs.length && showAll(each.name, known.get(each.name).runs)),
    h("ul", { class: "tree" }, each.trees.map(branch))));
}

function showAll(name, count) {
  return h("button", { type: "button", class: "button small", data: { key: `all-${name}` }, onclick: (event) => {
    event.preventDefault();
    act(event.currentTarget, async () => {
      for (const run of (await get(`/runs?agent_run_id=${encodeURIComponent(name)}`)).runs) fetched.set(run.run_id, run);
      draw();
    });
  } }, `Show ${count > 1 ? `all ${count.toLocaleString()} runs` : "its run"}`);
}

/** An agent run of which no run is here. */
function former(each) {
  const jobs = Object.values(each.states).reduce((sum, count) => sum + count, 0);
  return h("section", { class: "card agent" }, h("span", { class: "tree-line" }, h("b", {}, each.agent_run_id), badge(each.state),
    h("small", { class: "muted" }, `${counted(each.runs, "run")}, ${counted(jobs, "job")} · begun `, when(each.started_at)), showAll(each.agent_run_id, each.runs)));
}

function draw() {
  const needle = $("search").value.toLowerCase();
  const all = agentRuns(new Map([...fetched, ...runs]).values());
  const found = all.filter((each) => (!state || (state === "open" ? each.runs.some((run) => !run.finished) : stateOf(each.runs) === state))
    && (!needle || each.name.toLowerCase().includes(needle) || each.runs.some((run) => [run.name, run.run_id, run.parent].some((text) => text.toLowerCase().includes(needle)))));
  const here = new Set(all.map((each) => each.name));
  const older = [...known.values()].filter((each) => !here.has(each.agent_run_id) && (!needle || each.agent_run_id.toLowerCase().includes(needle))
    && (!state || (state === "open" ? !each.finished : each.state === state)));
  show($("agents"), found.length || older.length ? [found.slice(0, SHOWN).map(group), older.slice(0, SHOWN).map(former)]
    : h("section", { class: "card" }, all.length || known.size ? empty("No agent run is like that", "Change the search or the state.")
      : empty("No agent runs yet", "Runs that a job submits while it runs hang below it here, and runs that name the same ", h("code", {}, "agent_run_id"), " stand together.")),
  Math.max(found.length, older.length) > SHOWN && h("p", { class: "hint empty" }, `Some of ${found.length + older.length}; the search finds the others.`));
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
get("/agents").then(({ agents }) => { known = new Map(agents.map((each) => [each.agent_run_id, each])); drawSoon(); }).catch(() => {});
listen(["runs"], {
  runs: (data) => {
    if (data.all) runs.clear();
    for (const run of data.runs) runs.set(run.run_id, run);
    drawSoon();
  },
});
