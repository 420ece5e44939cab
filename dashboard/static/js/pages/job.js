import { jobButtons } from "../actions.js";
import { get } from "../api.js";
import { $, h, show } from "../dom.js";
import { listen } from "../events.js";
import { badge, bytes, duration, jobApi, moment, running, runUrl, wholeTime, WORDS } from "../format.js";
import { LogView } from "../log_view.js";

const run = $("job").dataset.run, name = $("job").dataset.job;
const key = `${run}/${name}`;
const log = new LogView($("log"), key);
let details = null;
let reading = false, again = false;

const clockTime = (ms) => h("time", { datetime: new Date(ms).toISOString(), title: wholeTime(ms) }, moment(ms));
const jobLink = (id) => h("a", { href: `${runUrl(run)}/${encodeURIComponent(id)}` }, id);
const OUTCOMES = { completed: "completed", failed: "failed", cancelled: "cancelled", timed_out: "timed out", handed_back: "handed back by its worker", lost: "lost with its worker" };

function steps(job) {
  const found = [["", "Submitted", job.submitted_at, job.parents.length ? `after ${job.parents.length} ${job.parents.length === 1 ? "parent" : "parents"}` : ""]];
  for (const each of job.executions) {
    found.push(["dot-run", `Attempt ${each.attempt} started`, each.started_at, `on ${each.worker}`]);
    if (each.ended_at && each.outcome && each.outcome !== "completed" && each.attempt !== job.attempt) {
      found.push(["dot-delay", `Attempt ${each.attempt} ${OUTCOMES[each.outcome] || each.outcome}`, each.ended_at, each.reason]);
    }
  }
  if (job.state === "DELAYED" && job.due_at) found.push(["dot-delay", "Due", job.due_at, job.reason]);
  if (job.state === "PENDING") found.push(["dot-queue", "In the queue", 0, job.reason]);
  if (job.state === "WAITING") found.push(["", "Waits", 0, job.reason]);
  if (job.state === "RUNNING" && job.ready) found.push(["dot-done", "Ready for its dependents", 0, ""]);
  if (job.ended_at && ["COMPLETED", "SKIPPED", "DEAD", "CANCELLED"].includes(job.state)) {
    found.push([job.state === "COMPLETED" ? "dot-done" : job.state === "DEAD" ? "dot-dead" : "", WORDS[job.state], job.ended_at,
      [job.exit_code === null ? "" : `exit code ${job.exit_code}`, job.started_at ? `after ${duration(job.ended_at - job.started_at)}` : ""].filter(Boolean).join(", ")]);
  }
  return found.map(([dot, words, at, text]) => h("li", { class: dot }, h("b", {}, words), " ", at ? clockTime(at) : "", text && h("small", {}, text)));
}

function attempts(job) {
  if (job.executions.length < 2) return null;
  return h("div", { class: "table-wrap" }, h("table", {}, h("thead", {}, h("tr", {}, ["#", "Worker", "Outcome", "Exit", "Took"].map((words) => h("th", {}, words)))),
    h("tbody", {}, job.executions.map((each) => h("tr", {},
      h("td", {}, h("button", { type: "button", class: "button small", title: "Show its output", onclick: () => log.open(each.attempt) }, String(each.attempt))),
      h("td", { class: "nowrap" }, each.worker), h("td", { title: each.reason }, OUTCOMES[each.outcome] || "running"), h("td", {}, each.exit_code ?? ""), h("td", { class: "nowrap" }, running(each.started_at, each.ended_at)))))));
}

function pairs({ job, spec, children }) {
  const code = (text) => h("code", {}, text);
  const rows = [
    ["File", code(spec?.archive ? `${spec.archive} › ${job.file}` : job.file)],
    spec?.args.length && ["Arguments", spec.args.map((each) => [code(each), " "])],
    job.kind !== "run" && ["Kind", job.kind],
    spec?.port && ["Port", String(spec.port)],
    ["Requirement", job.requirement.map((each) => h("span", { class: "chip" }, each))],
    ["Priority", String(job.priority)],
    ["Retries left", `${job.retries_left} of ${spec ? spec.retries : "?"}`],
    spec?.timeout_s && ["Time limit", `${spec.timeout_s} s`],
    spec?.delay_ms > 0 && ["Delay", duration(spec.delay_ms)],
    spec?.affinity && ["Affinity", "prefers its parent's worker"],
    spec && Object.keys(spec.env).length > 0 && ["Environment", Object.entries(spec.env).map(([each, value]) => [code(`${each}=${value}`), " "])],
    spec?.python && ["Interpreter", code(spec.python)],
    job.worker && ["Worker", job.worker],
    ["Parents", job.parents.length ? job.parents.map((each) => [jobLink(each), " "]) : "none"],
    ["Children", children.length ? children.slice(0, 60).map((each) => [jobLink(each), " "]) : "none"],
    ["Key", code(job.key)],
    spec?.sha256 && ["Content", [code(spec.sha256.slice(0, 16)), ` ${bytes(spec.size)}`]],
  ];
  return rows.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]);
}

function draw() {
  const { job } = details;
  const ready = job.state === "RUNNING" && job.ready;
  show($("state"), badge(ready ? "ready" : job.state, ready ? "Ready" : null));
  show($("actions"), jobButtons(job));
  $("run-link").textContent = details.run_name || run;
  $("reason").hidden = !job.reason;
  $("reason").textContent = job.reason;
  $("reason").className = job.state === "DEAD" ? "reason" : "reason calm";
  show($("steps"), steps(job));
  show($("attempts"), attempts(job));
  if (details.spec !== undefined) show($("spec"), pairs(details));
  log.setAttempts(job.attempt);
}

async function read() {
  if (reading) { again = true; return; }
  reading = true;
  try {
    details = await get(jobApi(key));
    draw();
  } catch (error) {
    $("reason").hidden = false;
    $("reason").className = "reason calm";
    $("reason").textContent = error.status === 404 ? "There is no such job, or it was removed long ago." : error.message;
  } finally {
    reading = false;
    if (again) { again = false; read(); }
  }
}

listen([`run:${run}`, `log:${key}`], {
  jobs: (data) => {
    const job = data.jobs.find((each) => each.key === key);
    if (!job) return;
    if (!details) read();
    else { details = { ...details, job: { ...job, log_bytes: job.log_bytes } }; draw(); }
  },
  master: (master) => { if (master.up) read(); },
  ...log.handlers(),
}, () => log.connected());
