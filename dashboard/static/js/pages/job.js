import { jobButtons } from "../actions.js";
import { get } from "../api.js";
import { saved } from "../artifacts.js";
import { $, h, show } from "../dom.js";
import { listen } from "../events.js";
import { badge, bytes, duration, isoTime, jobApi, jobName, jobUrl, moment, outcome, running, runUrl, wholeTime, WORDS } from "../format.js";
import { list } from "../happenings.js";
import { decideButtons, decision, who } from "../deciding.js";
import { LogView } from "../log_view.js";

const run = $("job").dataset.run, name = $("job").dataset.job;
const key = `${run}/${name}`;
const log = new LogView($("log"), key);
let details = null;
let usage = null; // of a service, as its worker measured it last
let reading = false, again = false;

const clockTime = (ms) => h("time", { datetime: isoTime(ms), title: wholeTime(ms) }, moment(ms));
const STEPS = 4; // attempts in the history; the table below it has more
const jobLink = (id) => h("a", { href: `${runUrl(run)}/${encodeURIComponent(id)}` }, id);

function steps(job) {
  const found = [["", "Submitted", job.submitted_at, job.parents.length ? `after ${job.parents.length} ${job.parents.length === 1 ? "parent" : "parents"}` : ""]];
  const recent = job.executions.slice(-STEPS);
  if (recent.length && recent[0].attempt > 1) found.push(["", `${recent[0].attempt - 1} earlier ${recent[0].attempt === 2 ? "attempt" : "attempts"}`, 0, ""]);
  for (const each of recent) {
    found.push(["dot-run", `Attempt ${each.attempt} started`, each.started_at, `on ${each.worker}`]);
    if (each.ended_at && each.outcome && each.outcome !== "completed" && each.attempt !== job.attempt) {
      found.push(["dot-delay", `Attempt ${each.attempt} ${outcome(each)}`, each.ended_at, each.reason === `exit code ${each.exit_code}` ? "" : each.reason]);
    }
  }
  for (const each of job.approvals || []) {
    found.push(["dot-delay", `Asked: ${each.message}`, each.asked_at, ""]);
    if (each.decision) found.push([each.decision === "approved" ? "dot-done" : "dot-dead", decision(each)[1], each.decided_at, [who(each) && `by ${who(each)}`, each.comment].filter(Boolean).join(": ")]);
  }
  for (const each of job.repairs || []) {
    const by = each.job && h("a", { href: jobUrl(each.job) }, jobName(each.job));
    found.push(["dot-delay", `Repair ${each.number} of attempt ${each.attempt}`, each.started_at, [by && ["by ", by], each.change?.note && `: ${each.change.note}`]]);
    if (each.ended_at) found.push([each.state === "applied" ? "dot-done" : "dot-dead", `Repair ${each.number} ${each.state}`, each.ended_at, each.reason]);
  }
  if (job.approvals?.length || job.repairs?.length) found.sort((a, b) => a[2] - b[2]);
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
  return h("div", { class: "table-wrap" }, h("table", {}, h("thead", {}, h("tr", {}, ["#", "Worker", "Outcome", "Took"].map((words) => h("th", {}, words)))),
    h("tbody", {}, job.executions.map((each) => h("tr", {},
      h("td", {}, h("button", { type: "button", class: "button small", title: "Show its output", onclick: () => log.open(each.attempt) }, String(each.attempt))),
      h("td", { class: "nowrap" }, each.worker), h("td", { title: each.reason }, outcome(each)), h("td", { class: "nowrap" }, running(each.started_at, each.ended_at)))))));
}

function resources(spec) {
  const found = [spec?.cpus > 0 && `${spec.cpus} ${spec.cpus === 1 ? "core" : "cores"}`, spec?.memory > 0 && `${bytes(spec.memory)} of memory`, spec?.gpus > 0 && `${spec.gpus} ${spec.gpus === 1 ? "GPU" : "GPUs"}`].filter(Boolean);
  return found.length ? `a slot, ${found.join(", ")}` : "a slot";
}

// Trigger rules, as they end the sentence "starts when".
const TRIGGERS = {
  all_done: "all its parents have ended", one_success: "one parent has completed", one_failed: "one parent has failed",
  none_failed: "no parent has failed", always: "all its parents have ended, whatever happens to the run",
};

const HANDLERS = { on_failure: "at the end of the run, if a job has failed", finally: "at the end of the run, in any case" };

const ARTIFACTS = "titan_artifacts"; // an output whose files are shown as such

function outputs(text) {
  let values;
  try { values = Object.entries(JSON.parse(text)); } catch { return h("code", {}, text); }
  return values.filter(([name]) => name !== ARTIFACTS).map(([name, value]) => h("div", {}, h("code", {}, `${name} = ${JSON.stringify(value)}`)));
}

function pairs({ job, spec, children, artifacts }) {
  const code = (text) => h("code", {}, text);
  const left = job.outputs ? [outputs(job.outputs)].flat() : [];
  const rows = [
    ["File", code(spec?.archive ? `${spec.archive} › ${job.file}` : job.file)],
    spec?.args.length && ["Arguments", spec.args.map((each) => [code(each), " "])],
    job.kind !== "run" && ["Kind", job.kind],
    (job.port > 0 || spec?.port > 0) && ["Port", String(job.port || spec.port)],
    job.url.startsWith("http://") && ["Address", h("a", { href: job.url, rel: "noreferrer", target: "_blank" }, job.url)],
    ["Requirement", job.requirement.map((each) => h("span", { class: "chip" }, each))],
    ["Resources", resources(spec)],
    usage && ["Uses", `${usage.cpu_percent.toFixed(1)} % of a core, ${bytes(usage.memory_bytes)}, ${usage.processes} ${usage.processes === 1 ? "process" : "processes"}`],
    ["Priority", String(job.priority)],
    ["Retries left", `${job.retries_left} of ${spec ? spec.retries : "?"}`],
    spec?.timeout_s && ["Time limit", `${spec.timeout_s} s`],
    spec?.delay_ms > 0 && ["Delay", duration(spec.delay_ms)],
    spec?.flow && spec.flow.trigger !== "all_success" && ["Starts when", TRIGGERS[spec.flow.trigger] || spec.flow.trigger],
    spec?.flow?.handler && ["Runs", HANDLERS[spec.flow.handler] || spec.flow.handler],
    spec?.flow?.each && ["For each of", [code(spec.flow.each), " ", h("a", { href: `${runUrl(run)}?search=${encodeURIComponent(`${job.id}.`)}` }, "its instances")]],
    spec?.flow?.instance_of && ["Instance", ["of ", jobLink(spec.flow.instance_of), ", for ", code(spec.flow.item)]],
    spec?.flow?.when && ["Only if", code(spec.flow.when)],
    artifacts?.length > 0 && ["Artifacts", artifacts.map((each) => h("div", {}, saved(each)))],
    left.length > 0 && ["Outputs", left],
    spec?.affinity && ["Affinity", "prefers its parent's worker"],
    spec && Object.keys(spec.env).length > 0 && ["Environment", Object.entries(spec.env).map(([each, value]) => [code(`${each}=${value}`), " "])],
    spec?.python && ["Interpreter", code(spec.python)],
    job.worker && ["Worker", job.worker],
    ["Parents", job.parents.length ? job.parents.map((each) => [jobLink(each), " "]) : "none"],
    children && ["Children", children.length ? children.slice(0, 60).map((each) => [jobLink(each), " "]) : "none"],
    ["Key", code(job.key)],
    spec?.sha256 && ["Content", [code(spec.sha256.slice(0, 16)), ` ${bytes(spec.size)}`]],
  ];
  return rows.filter(Boolean).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]);
}

function draw() {
  const { job } = details;
  if (job.kind === "service") stream.add("services"); // what it uses
  const ready = job.state === "RUNNING" && job.ready;
  show($("state"), badge(ready ? "ready" : job.state, ready ? "Ready" : null));
  show($("actions"), jobButtons(job));
  $("run-link").textContent = details.run_name || run;
  $("reason").hidden = !job.reason;
  $("reason").textContent = job.reason;
  $("reason").className = job.state === "DEAD" ? "reason" : "reason calm";
  const open = (job.approvals || []).find((each) => !each.decision);
  $("question").hidden = !open;
  show($("question"), open && [h("h2", {}, "A person is asked"), h("p", { class: "question" }, open.message), h("p", { class: "hint" }, open.expires_at ? `Without an answer it is ${open.on_timeout === "approve" ? "approved" : "rejected"} at ${moment(open.expires_at)}.` : "It waits as long as it takes."), h("div", { class: "acts" }, decideButtons(open, ""))]);
  show($("steps"), steps(job));
  show($("attempts"), attempts(job));
  if (details.spec !== undefined) show($("spec"), pairs(details));
  $("events-part").hidden = !details.events?.length;
  show($("events"), details.events?.length ? list(details.events.slice(-20).reverse()) : null);
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

const stream = listen([`run:${run}`, `log:${key}`], {
  jobs: (data) => {
    const job = data.jobs.find((each) => each.key === key);
    if (!job) return;
    if (!details || job.attempt !== details.job.attempt || job.state !== details.job.state) read(); // with what comes with it alone
    if (details) { details = { ...details, job: { ...job, outputs: job.outputs || details.job.outputs } }; draw(); }
  },
  master: (master) => { if (master.up) read(); },
  services: ({ services }) => {
    const found = services.find((each) => each.job.key === key);
    usage = found?.processes && found.job.state === "RUNNING" ? found : null;
    if (details) draw();
  },
  ...log.handlers(),
}, () => log.connected());
