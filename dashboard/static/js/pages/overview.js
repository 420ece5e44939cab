import { requeueButton } from "../actions.js";
import { act, confirm, post, tell } from "../api.js";
import { Chart } from "../chart.js";
import { $, empty, h, show } from "../dom.js";
import { listen } from "../events.js";
import { badge, brief, bytes, jobName, jobUrl, running, runUrl, when, WORDS } from "../format.js";

const TILES = [["RUNNING", "--run"], ["PENDING", "--queue"], ["WAITING", "--wait"], ["DELAYED", "--delay"], ["HELD", "--delay"], ["COMPLETED", "--done"], ["DEAD", "--dead"], ["CANCELLED", "--stop"], ["SKIPPED", "--stop"]];

function tiles(counts) {
  const shown = TILES.filter(([state]) => !["SKIPPED", "HELD"].includes(state) || counts[state]); // most clusters have none
  show($("tiles"), shown.map(([state, colour]) => {
    const href = { DEAD: "/failures", HELD: "/approvals" }[state] || null;
    return h(href ? "a" : "div", { class: "tile", href, data: { state } },
      h("b", {}, (counts[state] || 0).toLocaleString()),
      h("span", {}, h("i", { vars: { background: `var(${colour})` } }), WORDS[state]));
  }));
}

function meter(name, value, words = `${Math.round(value)} %`) {
  return h("div", { class: `meter ${name === "Memory" && value > 90 ? "hot" : ""} ${name.endsWith(" held") ? "held" : ""}` }, h("span", {}, name), h("em", {}, words), h("i", { vars: { "--value": String(Math.min(100, value)) } }));
}

/** What is set apart for jobs, when any job has asked for some of it or there are devices. */
function setApart(each) {
  return [
    each.cpus_used > 0 && meter("Cores held", 100 * each.cpus_used / (each.cpus || each.cpus_used), `${+each.cpus_used.toFixed(2)} of ${+each.cpus.toFixed(2)}`),
    each.memory_used > 0 && meter("RAM held", 100 * each.memory_used / (each.memory || each.memory_used), `${bytes(each.memory_used)} of ${bytes(each.memory)}`),
    each.gpus > 0 && meter("GPUs", 100 * each.gpus_used / each.gpus, `${each.gpus_used} of ${each.gpus}`),
  ];
}

const MANY = 8; // workers that are shown at full length
const STATE_WORDS = { cordoned: "drained", draining: "ending" };

function worker(each, services) {
  const jobs = each.jobs.map((key) => ({ key, service: services.has(key) }));
  const place = `${each.host}:${each.port}`;
  const button = (words, action) => h("button", { type: "button", class: "button small", data: { key: `${action}-${each.worker_id}` }, onclick: (event) => workerAction(event.currentTarget, each, action) }, words);
  return h("article", { class: `worker ${each.state}`, "aria-label": `Worker ${place}` },
    h("div", { class: "worker-head" }, h("b", { title: each.machine ? `${each.machine}, ${each.cores} cores` : null }, place), badge(each.state, STATE_WORDS[each.state] || each.state)),
    h("div", { class: "slots", title: `${each.busy} of ${each.slots} slots busy` },
      Array.from({ length: Math.min(each.slots, 64) }, (_, number) => h("i", { class: `slot ${number < jobs.length ? (jobs[number].service ? "service" : "busy") : ""}` }))),
    h("div", { class: "meters" }, meter("CPU", each.cpu_percent), meter("Memory", each.memory_percent), setApart(each)),
    jobs.length > 0 && h("div", { class: "worker-jobs" }, jobs.slice(0, 8).map((job) => h("a", { href: jobUrl(job.key), title: job.key }, jobName(job.key))), jobs.length > 8 && h("span", {}, `+${jobs.length - 8}`)),
    h("div", { class: "worker-foot" },
      each.capabilities.map((name) => h("span", { class: "chip" }, name)),
      h("span", { class: "chip", title: each.permanent ? "Never scaled away" : "Goes when it is idle for a while" }, each.permanent ? "permanent" : "ephemeral"),
      each.scaled && h("span", { class: "chip", title: "Scaling has started it, and ends it when it is idle" }, "scaled"),
      each.classic && h("span", { class: "chip" }, "classic"),
      each.job && h("a", { class: "chip", href: jobUrl(each.job) }, "a job"),
      ["alive", "cordoned"].includes(each.state) && h("span", { class: "worker-acts" },
        each.state === "cordoned" ? button("Undrain", "undrain") : button("Drain", "drain"),
        !each.permanent && button("Shut down", "shutdown"))));
}

const ASK = {
  drain: (place) => [`Drain ${place}?`, "It gets no new jobs, finishes what it has, and stays; Undrain takes it back.", "Drain", false],
  shutdown: (place) => [`Shut down ${place}?`, "It gets no new jobs; those that run finish or go to others, then it ends.", "Shut down"],
};

async function workerAction(button, each, action) {
  if (ASK[action] && !await confirm(...ASK[action](`${each.host}:${each.port}`))) return;
  const answer = await act(button, () => post(`/workers/${action}`, { host: each.host, port: each.port }));
  if (answer) tell(answer.text);
}

function overview(data) {
  tiles(data.counts);
  const alive = data.workers.filter((each) => ["alive", "draining", "cordoned"].includes(each.state));
  const services = new Set(data.services.filter((job) => job.state === "RUNNING").map((job) => job.key));
  $("slots").textContent = data.workers.length ? `${alive.reduce((sum, each) => sum + each.busy, 0)} of ${alive.reduce((sum, each) => sum + each.slots, 0)} slots busy` : "";
  const many = data.workers.length > MANY;
  $("workers").classList.toggle("many", many);
  // Of many, those that something is up with come first.
  const shown = many ? [...data.workers].sort((a, b) => (a.state === "alive") - (b.state === "alive")) : data.workers;
  show($("workers"), shown.length
    ? shown.map((each) => worker(each, services))
    : empty("No workers yet", "Start one with ", h("code", {}, "python3 titan_core/TitanWorker.py"), "."));
  show($("failures"), data.failures.length
    ? h("ul", { class: "list" }, data.failures.slice(0, 7).map((job) => h("li", {},
      h("a", { class: "title", href: jobUrl(job.key) }, job.id),
      h("span", { class: "sub" }, job.run_name && ["of ", h("a", { href: runUrl(job.run_id) }, job.run_name), " · "], job.reason || `exit code ${job.exit_code}`, job.worker && ` · on ${job.worker}`, " · ", when(job.ended_at)),
      h("span", { class: "end" }, requeueButton(job.key)))))
    : empty("Nothing has failed", "Jobs that used up their retries are shown here, with the reason."));
  $("running-count").textContent = data.running_total > data.running.length ? `${data.running.length} of ${data.running_total}` : "";
  show($("running"), data.running.length
    ? h("ul", { class: "list" }, data.running.slice(0, 12).map((job) => h("li", {},
      h("a", { class: "title", href: jobUrl(job.key) }, job.id),
      h("span", { class: "sub" }, job.file, " · on ", job.worker, job.attempt > 1 && ` · attempt ${job.attempt}`),
      h("span", { class: "end" }, running(job.started_at)))))
    : empty("Nothing runs at the moment", h("a", { href: "/new" }, "Submit a pipeline"), " or run one of the ", h("a", { href: "/files" }, "files"), "."));
  show($("runs"), data.runs.length
    ? h("ul", { class: "list" }, data.runs.map((run) => h("li", {},
      h("a", { class: "title", href: runUrl(run.run_id) }, run.name || run.run_id),
      h("span", { class: "sub" }, `${run.total} ${run.total === 1 ? "job" : "jobs"} · `, when(run.submitted_at)),
      h("span", { class: "end" }, badge(run.state)))))
    : empty("No runs yet", h("a", { href: "/new" }, "Submit the first one"), "."));
}

// Smoothed over a minute: a rate of single jobs in five seconds says little.
function rates(samples) {
  return samples.map((sample, number) => {
    const part = samples.slice(Math.max(0, number - 11), number + 1);
    const sum = (name) => part.reduce((total, each) => total + each[name], 0) * 12 / part.length;
    return { at: sample.at, completed: Math.round(sum("completed")), failed: Math.round(sum("failed")) };
  });
}

const throughput = new Chart($("throughput"), [
  { name: "completed", colour: "--done", stack: true, value: (each) => each.completed },
  { name: "failed", colour: "--dead", stack: true, value: (each) => each.failed },
], { floor: 1 });
const queue = new Chart($("queue"), [
  { name: "queued", colour: "--queue", area: true, value: (each) => each.queued },
  { name: "busy slots", colour: "--run", value: (each) => each.busy },
  { name: "slots", colour: "--wait", value: (each) => each.slots },
], { floor: 1 });
const latency = new Chart($("latency"), [
  { name: "wait, median", colour: "--run", sparse: true, value: (each) => each.wait_p50 },
  { name: "wait, 95 %", colour: "--delay", sparse: true, value: (each) => each.wait_p95 },
  { name: "run, median", colour: "--done", sparse: true, value: (each) => each.run_p50 },
], { format: brief, floor: 10 });

let samples = [];
function series(all) {
  samples = all;
  throughput.set(rates(samples));
  queue.set(samples.slice());
  latency.set(samples.slice());
}

listen(["overview", "series"], {
  overview,
  series,
  sample: (sample) => { samples.push(sample); series(samples.slice(-720)); },
});
