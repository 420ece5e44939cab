import { runButtons } from "../actions.js";
import { get } from "../api.js";
import { saved } from "../artifacts.js";
import { DagView } from "../dag_view.js";
import { $, empty, h, show } from "../dom.js";
import { listen } from "../events.js";
import { FanOuts } from "../fan_out.js";
import { badge, duration, jobName, jobUrl, running, runUrl, STATES, until, when, WORDS } from "../format.js";

const id = $("run").dataset.run;
const DRAWN = 2000; // jobs of a graph that a browser still moves smoothly
const jobs = new Map();
let drawn = true;
let run = null;
let waiting = []; // what came while the run was read
let reading = false;

const graph = new DagView($("graph"), { onChoose: (job) => { location.href = jobUrl(`${id}/${job}`); } });

function sub(job) {
  if (job.state === "RUNNING") return `${job.worker || "starting"}${job.attempt > 1 ? ` · attempt ${job.attempt}` : ""}`;
  if (job.state === "COMPLETED" && job.started_at) return duration(job.ended_at - job.started_at);
  if (job.state === "DEAD") return job.exit_code === null ? "failed" : `exit code ${job.exit_code}`;
  return WORDS[job.state].toLowerCase();
}

let fans = new FanOuts([]);

function nodes(list) {
  const shown = new Map();
  for (const job of list) {
    const at = fans.folds(job.instance_of) ? jobs.get(`${id}/${job.instance_of}`) : job;
    if (at) shown.set(at.key, at);
  }
  return [...shown.values()].map((job) => {
    const node = { id: job.id, parents: job.parents, state: job.state, sub: sub(job) };
    return fans.has(job.id) ? fans.node(node, jobs) : node;
  });
}

function drawRun() {
  $("name").textContent = run.name || run.run_id;
  document.title = `${run.name || run.run_id} · Titan`;
  show($("actions"), badge(run.state), runButtons(run));
  const budget = run.options?.budget || {};
  show($("facts"),
    h("span", {}, `${run.total} ${run.total === 1 ? "job" : "jobs"}`),
    h("span", {}, "submitted ", when(run.submitted_at)),
    h("span", {}, run.finished ? "took " : "for ", running(run.submitted_at, run.finished ? run.ended_at || run.submitted_at : 0)),
    run.open && h("span", { class: "chip", title: "Jobs may still be added" }, "open"),
    run.agent_run_id || run.options?.agent_run_id ? h("span", {}, "agent run ", h("a", { href: `/agents?search=${encodeURIComponent(run.agent_run_id || run.options.agent_run_id)}` }, run.agent_run_id || run.options.agent_run_id)) : null,
    run.options?.rerun_of && h("span", {}, "again ", h("a", { href: runUrl(run.options.rerun_of) }, run.options.rerun_of)),
    budget.max_jobs > 0 && h("span", {}, `${run.tree_jobs.toLocaleString()} of ${budget.max_jobs.toLocaleString()} jobs of its budget`),
    run.deadline_at > 0 && !run.finished && h("span", {}, "ends ", until(run.deadline_at)),
    Object.entries(run.options?.params || {}).map(([name, value]) => h("span", {}, h("code", {}, `${name}=${value}`))),
    run.children?.length > 0 && h("span", {}, "submitted ", run.children.slice(0, 20).map((each, number) => [number > 0 && ", ", h("a", { href: runUrl(each.run_id) }, each.name || each.run_id)]), run.children.length > 20 && ` and ${run.children.length - 20} more`),
    run.parent && h("span", {}, "submitted by ", h("a", { href: jobUrl(run.parent) }, run.parent)),
    STATES.filter((state) => run.states[state]).map((state) => h("span", {}, `${run.states[state]} ${WORDS[state].toLowerCase()}`)));
  show($("progress"), ["COMPLETED", "RUNNING", "DEAD", "CANCELLED", "SKIPPED", "PENDING", "DELAYED", "HELD", "WAITING"].filter((state) => run.states[state])
    .map((state) => h("i", { class: `fill-${state}`, vars: { "flex-grow": String(run.states[state]) } })));
}

function drawJobs() {
  const needle = $("search").value.toLowerCase();
  const order = (job) => ["RUNNING", "DEAD", "PENDING", "DELAYED", "HELD", "WAITING", "CANCELLED", "COMPLETED", "SKIPPED"].indexOf(job.state);
  const found = [...jobs.values()].filter((job) => !needle || [job.id, job.worker, job.state, WORDS[job.state], job.reason].some((text) => text.toLowerCase().includes(needle)));
  // What failed by itself stands before what was not started therefore.
  found.sort((a, b) => order(a) - order(b) || Number(!a.started_at) - Number(!b.started_at));
  show($("jobs"), found.length
    ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Job", "State", "Worker", "Attempt", "Took", "Why"].map((words, number) => h("th", { class: number === 3 ? "num" : "" }, words)))),
      h("tbody", {}, found.slice(0, 200).map((job) => h("tr", {},
        h("td", { class: "name" }, h("a", { href: jobUrl(job.key), data: { key: job.key } }, job.id)),
        h("td", {}, badge(job.kind !== "run" && job.ready && job.state === "RUNNING" ? "ready" : job.state, job.ready && job.state === "RUNNING" ? "Ready" : null)),
        h("td", { class: "nowrap" }, job.worker || ""), h("td", { class: "num wide-only" }, job.attempt || ""), h("td", { class: "nowrap" }, job.started_at ? running(job.started_at, job.ended_at) : ""),
        h("td", { class: "why" }, job.reason)))))
    : empty("No job is like that", "Change the search."),
  found.length > 200 && h("p", { class: "hint empty" }, `200 of ${found.length.toLocaleString()} jobs; the search finds the others.`),
  jobs.size < run.total && h("p", { class: "hint empty" }, `Of the run's ${run.total.toLocaleString()} jobs these are the first ${jobs.size.toLocaleString()}, and those that changed since.`));
}

const ASKED = 300; // jobs of a run that are each asked for what they left without somebody wanting it
let looked = -1; // completed jobs when it was asked last
let looking = false;

/** What the jobs left: of a small run by itself, as jobs complete; of a big one when the list is opened. */
async function readArtifacts() {
  const completed = run.states.COMPLETED || 0;
  const part = $("artifacts-part");
  if (looking || completed === looked || !completed || (run.total > ASKED && !part.open)) {
    if (run.total > ASKED && completed) part.hidden = false;
    return;
  }
  looking = true;
  try {
    const { artifacts } = await get(`/runs/${encodeURIComponent(id)}/artifacts`);
    looked = completed;
    part.hidden = !artifacts.length && run.total <= ASKED;
    if (artifacts.length && run.total <= ASKED && !part.dataset.seen) { part.dataset.seen = "1"; part.open = true; }
    show($("artifacts"), artifacts.length
      ? h("table", {}, h("tbody", {}, artifacts.map((each) => h("tr", {}, h("td", {}, saved(each)), h("td", { class: "muted" }, "of ", h("a", { href: jobUrl(each.job) }, jobName(each.job)))))))
      : empty("No job has left a file", "Jobs leave files with titan_sdk.publish."));
  } catch { /* the next change asks again */ } finally {
    setTimeout(() => { looking = false; readArtifacts(); }, 1000);
  }
}
$("artifacts-part").addEventListener("toggle", () => { if (run) readArtifacts(); });

let scheduled = false;
function drawSoon() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; drawRun(); drawJobs(); readArtifacts(); });
}

function take(data) {
  const changed = [];
  for (const job of data.jobs) {
    if (!jobs.has(job.key) && jobs.size >= run.total) { read(); return; } // there are more than there were
    jobs.set(job.key, job);
    changed.push(job);
  }
  run = { ...run, ...data.run };
  if (drawn) graph.update(nodes(changed));
  drawSoon();
}

async function read() {
  if (reading) return;
  reading = true;
  try {
    run = await get(`/runs/${encodeURIComponent(id)}`);
    if (run.run_id !== id) { location.replace(runUrl(run.run_id)); return; }
    jobs.clear();
    for (const job of run.jobs) jobs.set(job.key, job);
    fans = new FanOuts(run.jobs);
    const all = nodes(run.jobs);
    drawn = run.jobs.length >= run.total && all.length <= DRAWN;
    $("graph").hidden = !drawn;
    $("too-big").hidden = drawn;
    if (drawn) {
      graph.draw(all);
      $("graph").classList.toggle("short", all.length < 12 && graph.height < 260);
    }
    drawRun();
    drawJobs();
    readArtifacts();
  } catch (error) {
    if (!run) show($("jobs"), empty("This run cannot be shown", error.message));
  } finally {
    reading = false;
    const late = waiting;
    waiting = [];
    if (run) late.forEach(take);
  }
}

$("search").value = new URLSearchParams(location.search).get("search") || "";
$("search").addEventListener("input", drawJobs);
listen([`run:${id}`], {
  jobs: (data) => { if (reading || !run) waiting.push(data); else take(data); },
  master: (master) => { if (master.up) read(); },
});
