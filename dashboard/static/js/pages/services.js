import { end, jobButtons, restart } from "../actions.js";
import { act, get, post, tell } from "../api.js";
import { $, empty, h, show } from "../dom.js";
import { badge, bytes, jobApi, jobUrl, outcome, running, when } from "../format.js";
import { list } from "../happenings.js";
import { follow } from "../listing.js";

const COLUMNS = ["Service", "Status", "Where", "Restarts", "Up for", "Uses", ""];
const COLOURS = { ready: "ready", starting: "RUNNING", waiting: "PENDING", restarting: "DELAYED", stopping: "draining", "crash loop": "DEAD" };
let active = [], ended = [], loaded = false;
const opened = new Map(); // key -> {stamp, job, events} of the histories that are shown
let chosen = null;

const small = (words, key, action, name = "") => h("button", { type: "button", class: "button small", data: { key }, "aria-label": name || null, onclick: (event) => action(event.currentTarget) }, words);
const base = (id) => id.replace(/\.\d+$/, "");
const replicas = (id) => active.filter((each) => each.job.id === id || (base(each.job.id) === id && each.job.id !== id));
/** Of several, the first carries the button for all. */
const scalable = (job) => base(job.id) === job.id || !active.some((each) => each.job.id === base(job.id));

const restarts = (job) => h("td", { class: "num" }, job.restarts > 0 ? [String(job.restarts), h("span", { class: "narrow-only" }, job.restarts === 1 ? " restart" : " restarts")] : h("span", { class: "muted wide-only" }, "0"));

function row({ job, status, cpu_percent: cpu, memory_bytes: memory, processes, replaces }) {
  const up = job.state === "RUNNING";
  return [h("tr", {},
    h("td", { class: "name" }, h("a", { href: jobUrl(job.key), data: { key: job.key } }, job.id), h("small", {}, job.file, job.kind === "worker" && " · a worker", replaces && " · takes over when it is ready")),
    h("td", {}, badge(COLOURS[status] || job.state, status.replace(/^./, (first) => first.toUpperCase())), job.reason && h("small", { class: "under" }, job.reason)),
    h("td", {}, h("span", { class: "nowrap" }, job.worker), job.url.startsWith("http://") ? h("small", { class: "under" }, h("a", { href: job.url, rel: "noreferrer", target: "_blank" }, job.url)) : job.port > 0 && h("small", { class: "under" }, `port ${job.port}`)),
    restarts(job),
    h("td", { class: "nowrap" }, up ? running(job.started_at) : ""),
    h("td", { class: "nowrap" }, up && processes ? [`${bytes(memory)} `, h("small", { class: "under" }, `${cpu.toFixed(cpu < 10 ? 1 : 0)} % CPU, ${processes} ${processes === 1 ? "process" : "processes"}`)] : ""),
    h("td", { class: "acts wrap" }, small("History", `history-${job.key}`, () => toggle(job.key)), job.kind === "service" && small("Restart", `restart-${job.key}`, (button) => restart(button, job.key)),
      job.kind === "service" && scalable(job) && small("Scale", `scale-${job.key}`, () => ask(job)), small("Stop", `stop-${job.key}`, (button) => end(button, job.key, "stop")))),
  opened.has(job.key) && h("tr", { class: "detail" }, h("td", { colspan: String(COLUMNS.length) }, history(job.key)))];
}

function history(key) {
  const { job, events, problem } = opened.get(key);
  if (problem) return h("p", { class: "hint" }, problem);
  if (!job) return h("p", { class: "hint" }, "Loading…");
  return h("div", { class: "columns even" },
    h("div", {}, h("h2", {}, "Attempts", job.attempt > job.executions.length && h("small", {}, `the last ${job.executions.length} of ${job.attempt}`)),
      h("table", {}, h("thead", {}, h("tr", {}, ["#", "Started", "Ran for", "Ended", "Worker"].map((words) => h("th", {}, words)))),
        h("tbody", {}, job.executions.slice().reverse().map((each) => h("tr", {}, h("td", {}, String(each.attempt)), h("td", { class: "nowrap" }, when(each.started_at)),
          h("td", { class: "nowrap" }, running(each.started_at, each.ended_at)), h("td", { title: each.reason }, outcome(each)), h("td", { class: "nowrap" }, each.worker)))))),
    h("div", {}, h("h2", {}, "What happened"), events.length ? list(events.slice(-20).reverse()) : h("p", { class: "hint" }, "It was never started again by itself.")));
}

const stamp = (job) => `${job.attempt} ${job.state} ${job.ready}`;

async function look(key) {
  const now = active.find((each) => each.job.key === key);
  if (!now) { opened.delete(key); return; }
  const mine = stamp(now.job);
  if (opened.get(key).stamp === mine) return;
  opened.get(key).stamp = mine;
  try {
    const found = await get(jobApi(key));
    if (opened.get(key)?.stamp === mine) { opened.set(key, { stamp: mine, job: found.job, events: found.events }); draw(); }
  } catch (error) {
    if (opened.has(key)) { opened.set(key, { problem: error.message }); draw(); }
  }
}

function toggle(key) {
  if (opened.has(key)) opened.delete(key);
  else { opened.set(key, {}); look(key); }
  draw();
}

function ask(job) {
  chosen = job;
  $("scale-title").textContent = `Replicas of ${job.id}`;
  $("scale-form").elements.count.value = String(replicas(job.id).length);
  $("scale-dialog").showModal();
}

$("scale-close").addEventListener("click", () => $("scale-dialog").close());
$("scale-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const count = Number(event.target.elements.count.value);
  act(event.submitter, async () => {
    const answer = await post(jobApi(chosen.key, "scale"), { count });
    $("scale-dialog").close();
    const told = [answer.started.length && `${answer.started.length} started`, answer.stopped.length && `${answer.stopped.length} being stopped`].filter(Boolean);
    tell(told.length ? `${chosen.id}: ${told.join(", ")}.` : `${chosen.id} has ${count} already.`);
  });
});

const head = (words) => h("thead", {}, h("tr", {}, words.map((text) => h("th", { class: text === "Restarts" ? "num" : "" }, text))));

function draw() {
  if (!loaded) return;
  show($("services"), active.length
    ? h("table", { class: "stack" }, head(COLUMNS), h("tbody", {}, active.map(row)))
    : empty("No services", "A job of type SERVICE stays up until it is stopped. Write one in ", h("a", { href: "/new" }, "a pipeline"), " or start a ", h("a", { href: "/files" }, "file"), " as one."));
  $("ended-part").hidden = !ended.length;
  show($("ended"), h("table", { class: "stack" }, head(["Service", "State", "Where", "Restarts", "Ended", "Why", ""]), h("tbody", {}, ended.map((job) => h("tr", {},
    h("td", { class: "name" }, h("a", { href: jobUrl(job.key) }, job.id), h("small", {}, job.file, job.kind === "worker" ? " · a worker" : "")),
    h("td", {}, badge(job.state)), h("td", { class: "nowrap" }, job.worker), restarts(job), h("td", { class: "nowrap" }, when(job.ended_at)),
    h("td", { class: "why" }, job.reason), h("td", { class: "acts" }, jobButtons(job).slice(-1)))))));
}

function take(data) {
  loaded = true;
  active = data.services.sort((a, b) => a.job.id.localeCompare(b.job.id, undefined, { numeric: true }) || a.job.key.localeCompare(b.job.key));
  ended = data.ended;
  for (const key of [...opened.keys()]) look(key);
  draw();
}

follow("services", "/services", take, (error) => show($("services"), empty("The services cannot be shown", error.message)));
