import { act, confirm, get, post, postForm, tell } from "../api.js";
import { DagView } from "../dag_view.js";
import { $, empty, h, show } from "../dom.js";
import { listen } from "../events.js";
import { runUrl } from "../format.js";
import { join, split } from "../shell_words.js";

const KEEP = "titan-pipeline";
const text = document.querySelector("#editor textarea"), gutter = document.querySelector("#editor .gutter");
const files = new Map(); // path -> File, to go along
let model = { name: "pipeline", project: false, jobs: [] };
let readable = true; // the text could be read, and the model is what it says
let problems = [], chosen = null, timer = 0, known = [];
let serial = 0; // of the latest change; answers to what was asked before it do not count
let rendering = 0; // serial of the change whose text is being written

const graph = new DagView($("graph"), {
  onChoose: (id) => choose(id),
  editable: { connect: (from, to) => connect(from, to), cut: (from, to) => edit(() => { find(to).depends_on = find(to).depends_on.filter((each) => each !== from); }) },
  label: "Graph of the pipeline",
});
const blank = empty("No jobs yet", "Add one here, or write the YAML beside it. Drag from the circle of a job to the one that follows.");
$("graph").after(blank);

const TRIGGERS = [["all_success", "all parents completed"], ["none_failed", "no parent failed"], ["all_done", "all parents ended"], ["one_success", "one parent completed"], ["one_failed", "one parent failed"], ["always", "all parents ended, always"]];
const HANDLERS = [["", "at its turn"], ["on_failure", "at the end, if a job has failed"], ["finally", "at the end, in any case"]];
const find = (id) => model.jobs.find((job) => job.id === id);

// --- the text ---

function drawGutter() {
  const lines = text.value.split("\n").length;
  const bad = new Set(problems.map((each) => each.line));
  show(gutter, Array.from({ length: lines }, (_, number) => h("div", { class: bad.has(number + 1) ? "bad" : "" }, String(number + 1))));
  gutter.scrollTop = text.scrollTop;
}

function verdict(words, kind = "") {
  $("verdict").textContent = words;
  $("verdict").className = `verdict ${kind}`;
}

function changed({ redraw = true } = {}) {
  try { sessionStorage.setItem(KEEP, text.value); } catch { /* not kept then */ }
  drawGutter();
  $("deploy").disabled = true;
  clearTimeout(timer);
  if (!text.value.trim()) { problems = []; model = { name: "pipeline", project: false, jobs: [] }; readable = true; drawProblems(); drawGraph(); verdict(""); return; }
  verdict("checking…");
  timer = setTimeout(() => check(redraw), 180);
}

async function check(redraw) {
  if (rendering) return; // the text is about to be another
  const mine = serial;
  try {
    const answer = await post("/pipelines/check", { yaml: text.value, files: [...files.keys()] });
    if (mine !== serial) return;
    problems = answer.problems;
    readable = answer.pipeline !== null;
    if (answer.pipeline) model = answer.pipeline;
    $("deploy").disabled = !answer.ok;
    const count = problems.length;
    verdict(answer.ok ? `✓ ${model.jobs.length} ${model.jobs.length === 1 ? "job" : "jobs"}, ready to ${model.schedule || model.every ? "be scheduled" : "deploy"}` : `${count} ${count === 1 ? "problem" : "problems"}`, answer.ok ? "good" : "bad");
  } catch (error) {
    if (mine === serial) verdict(error.message, "bad");
    return;
  }
  drawProblems();
  drawGraph();
  if (redraw) drawProperties();
}

function drawProblems() {
  drawGutter();
  show($("problems"), problems.map((each) => h("li", {}, h("button", { type: "button", onclick: () => goTo(each.line) },
    h("span", {}, each.line ? `line ${each.line}` : ""), h("span", {}, each.where ? h("b", {}, `${each.where}: `) : "", each.text)))));
}

function goTo(line) {
  const lines = text.value.split("\n");
  const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  text.focus();
  text.setSelectionRange(start, start + (lines[line - 1] || "").length);
  text.scrollTop = Math.max(0, (line - 6) * 20);
}

text.addEventListener("input", () => { serial += 1; changed(); });
text.addEventListener("scroll", () => { gutter.scrollTop = text.scrollTop; });
text.addEventListener("keydown", (event) => {
  if (event.key !== "Tab" || event.shiftKey || event.altKey || event.ctrlKey) return;
  // Two blanks, as YAML has no tabs; Escape first and Tab leaves the field.
  if (text.dataset.leaving) { delete text.dataset.leaving; return; }
  event.preventDefault();
  text.setRangeText("  ", text.selectionStart, text.selectionEnd, "end");
  changed();
});
text.addEventListener("keyup", (event) => { if (event.key === "Escape") text.dataset.leaving = "1"; });

// --- the graph ---

function drawGraph() {
  blank.hidden = model.jobs.length > 0;
  $("graph").hidden = !model.jobs.length;
  const bad = new Set(problems.map((each) => each.where));
  graph.draw(model.jobs.map((job) => ({ id: job.id, parents: job.depends_on, state: bad.has(job.id) ? "DEAD" : "", sub: [job.each && "each", job.handler, job.type !== "run" && job.type, job.file].filter(Boolean).join(" · ") })));
  graph.choose(chosen);
}

/** Change the model, and write the text anew. */
async function edit(change, { redraw = true } = {}) {
  if (!readable && !await confirm("Replace the text?", "The YAML cannot be read; the graph shows what it was before.", "Replace it", false)) return;
  change();
  drawGraph();
  if (redraw) drawProperties();
  const mine = serial += 1;
  rendering = mine;
  clearTimeout(timer);
  try {
    const answer = await post("/pipelines/render", { pipeline: model });
    if (mine !== serial) return;
    text.value = answer.yaml;
    readable = true;
    rendering = 0;
    changed({ redraw: false });
  } catch (error) { tell(error.message, { bad: true }); } finally {
    if (rendering === mine) rendering = 0;
  }
}

function add() {
  let number = model.jobs.length + 1;
  while (find(`job-${number}`)) number += 1;
  const after = find(chosen);
  edit(() => {
    model.jobs.push({ id: `job-${number}`, type: "run", file: "", args: [], depends_on: after ? [after.id] : [], requirement: ["GENERAL"], priority: 1, delay: 0, affinity: false, retries: 3, timeout: null, cpus: 0, memory: "", gpus: 0, port: 0, env: {}, python: "", fresh: false });
    chosen = `job-${number}`;
  }).then(() => document.querySelector("#properties input")?.select());
}

function connect(from, to) {
  const seen = new Set();
  const reaches = (id) => id === to || (!seen.has(id) && seen.add(id) && find(id)?.depends_on.some(reaches));
  if (find(to).depends_on.includes(from)) return;
  if (reaches(from)) { tell(`${from} already waits for ${to}: that would be a circle.`, { bad: true }); return; }
  edit(() => find(to).depends_on.push(from));
}

function choose(id) {
  chosen = id;
  graph.choose(id);
  drawProperties();
}

// --- the properties of a job ---

function drawProperties() {
  const job = find(chosen);
  if (!job) {
    show($("properties"), model.jobs.length ? h("div", { class: "fields" }, field("Name of the pipeline", model.name, (value) => { model.name = value; }),
      !model.every && (!model.schedule || typeof model.schedule === "string") && field("Schedule", model.schedule || "", (value) => { model.schedule = value.trim(); }, { placeholder: "once, or like 0 6 * * 1-5" }), h("p", { class: "hint" }, "Choose a job to see its properties.")) : null);
    return;
  }
  const id = job.id;
  // Of the model as it is by then: each check of the text makes it anew.
  const set = (name) => (value) => { const now = find(id); if (now) now[name] = value; };
  const number = (name, none) => (value) => set(name)(value === "" ? none : Number(value));
  show($("properties"), h("div", { class: "fields" },
    field("Id", id, (value) => rename(id, value.trim())),
    field("File", job.file, set("file"), { list: "known-files" }),
    h("datalist", { id: "known-files" }, [...new Set([...files.keys(), ...known])].map((each) => h("option", { value: each }))),
    h("label", {}, "Type", h("select", { data: { key: "type" }, onchange: (event) => edit(() => { set("type")(event.target.value); if (event.target.value === "run") Object.assign(find(id) || {}, { port: 0, restart: "always", health: null, lifetime: "stopped" }); }) },
      ["run", "service", "worker"].map((each) => h("option", { value: each, selected: each === job.type }, each)))),
    field("Arguments", join(job.args), (value) => set("args")(split(value))),
    field("Requirement", job.requirement.join(","), (value) => set("requirement")(value.split(",").map((each) => each.trim()).filter(Boolean))),
    job.depends_on.length > 0 && choice("Starts when", job.trigger || "all_success", TRIGGERS, set("trigger")),
    choice("Runs", job.handler || "", HANDLERS, set("handler")),
    field("For each of", job.each || "", (value) => set("each")(value.trim()), { placeholder: "a list: parents.split.items" }),
    field("Only if", job.when || "", (value) => set("when")(value.trim()), { placeholder: "a condition" }),
    field("Priority", job.priority, number("priority", 1), { type: "number" }),
    field("Retries", job.retries, number("retries", 3), { type: "number", min: 0 }),
    field("Delay in seconds", job.delay, number("delay", 0), { type: "number", min: 0, step: "any" }),
    field("Time limit in seconds", job.timeout ?? "", number("timeout", null), { type: "number", min: 0, step: "any", placeholder: "none" }),
    (!job.approve || typeof job.approve === "string") && field("Ask a person first", job.approve || "", (value) => set("approve")(value.trim() || null), { placeholder: "Ship it?" }),
    field("Cores", job.cpus || "", number("cpus", 0), { type: "number", min: 0, step: "any", placeholder: "a slot alone" }),
    field("Memory", job.memory || "", set("memory"), { placeholder: "512MB" }),
    field("GPUs", job.gpus || "", number("gpus", 0), { type: "number", min: 0 }),
    job.type !== "run" && field("Port", job.port || "", (value) => set("port")(/^[0-9]+$/.test(value) ? Number(value) : value.trim()), { placeholder: "a number, or auto" }),
    job.type === "service" && [
      choice("Restart", job.restart, ["always", "on-failure", "never"], set("restart")),
      choice("Lives until", job.lifetime, [["stopped", "it is stopped"], ["run", "its run no longer needs it"]], set("lifetime")),
      (!job.health || typeof job.health === "string") && field("Health", job.health || "", (value) => set("health")(value.trim() || null), { placeholder: "/health" }),
    ],
    field("Environment", Object.entries(job.env).map(([name, value]) => `${name}=${value}`).join(" "), (value) => set("env")(Object.fromEntries(split(value).map((each) => [each.split("=", 1)[0], each.slice(each.indexOf("=") + 1)]).filter(([name]) => name))), { placeholder: "DAY=today REGION=eu" }),
    h("label", { class: "check" }, h("input", { type: "checkbox", checked: job.affinity, data: { key: "affinity" }, onchange: (event) => edit(() => set("affinity")(event.target.checked)) }), "Prefer the parent's worker"),
    model.jobs.length > 1 && h("fieldset", { class: "full" }, h("legend", {}, "Runs after"), model.jobs.filter((each) => each.id !== id).map((each) => h("label", { class: "check" },
      h("input", { type: "checkbox", checked: job.depends_on.includes(each.id), data: { key: `after-${each.id}` }, onchange: (event) => { if (event.target.checked) { event.target.checked = false; connect(each.id, id); } else edit(() => set("depends_on")((find(id)?.depends_on || []).filter((parent) => parent !== each.id))); } }), each.id)))),
  h("div", { class: "head-end" }, h("button", { type: "button", class: "button small danger", data: { key: "delete" }, onclick: () => edit(() => {
    model.jobs = model.jobs.filter((each) => each.id !== id);
    for (const each of model.jobs) each.depends_on = each.depends_on.filter((parent) => parent !== id);
    chosen = null;
  }) }, "Delete this job")));
}

function field(words, value, set, attributes = {}) {
  return h("label", {}, words, h("input", { value: String(value), autocomplete: "off", data: { key: words }, onchange: (event) => edit(() => set(event.target.value)), ...attributes }));
}

function choice(words, value, choices, set) {
  return h("label", {}, words, h("select", { data: { key: words }, onchange: (event) => edit(() => set(event.target.value)) },
    choices.map((each) => (Array.isArray(each) ? each : [each, each])).map(([key, text]) => h("option", { value: key, selected: key === value }, text))));
}

function rename(old, id) {
  const job = find(old);
  if (!job || old === id) return;
  if (!id || find(id)) { tell(id ? `There is a job ${id} already.` : "A job has an id.", { bad: true }); return; }
  for (const each of model.jobs) each.depends_on = each.depends_on.map((parent) => (parent === job.id ? id : parent));
  job.id = id;
  chosen = id;
}

// --- files, loading, deploying ---

function attach(list) {
  for (const file of list) {
    const path = file.webkitRelativePath ? file.webkitRelativePath.split("/").slice(1).join("/") : file.name;
    files.set(path, file);
  }
  show($("attached"), files.size ? [`${files.size} ${files.size === 1 ? "file goes" : "files go"} along: `, [...files.keys()].slice(0, 6).join(", "), files.size > 6 ? " … " : " ", h("button", { type: "button", class: "button small", onclick: () => { files.clear(); attach([]); } }, "None")] : "Files that jobs run come from here, or from perm_files by name.");
  const described = [...files.entries()].find(([path]) => /^[^/]+\.ya?ml$/.test(path));
  if (described && !text.value.trim()) described[1].text().then((content) => { text.value = content; changed(); });
  else changed();
}

/** Values of the parameters, asked for in a dialog; null: not now. */
function askParams(defaults, scheduled) {
  if (!Object.keys(defaults).length) return Promise.resolve({});
  return new Promise((resolve) => {
    const inputs = Object.entries(defaults).map(([name, value]) => [name, h("input", { name, value: value ?? "", autocomplete: "off", required: value === null, placeholder: value === null ? "must be given" : "empty" })]);
    const back = h("button", { type: "button", class: "button" }, "Back");
    const form = h("form", {}, h("h2", {}, "Parameters"), h("p", { class: "hint" }, scheduled ? "For each of its runs." : "For this run; what stands here is the default."),
      h("div", { class: "params" }, inputs.map(([name, input]) => h("label", {}, name, input))),
      h("div", { class: "dialog-end" }, back, h("button", { class: "button primary" }, scheduled ? "Schedule it" : "Deploy")));
    const dialog = h("dialog", { class: "dialog" }, form);
    back.addEventListener("click", () => dialog.close());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      resolve(Object.fromEntries(inputs.map(([name, input]) => [name, input.value])));
      dialog.close();
    });
    dialog.addEventListener("close", () => { resolve(null); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function deploy(button) {
  const given = await askParams(model.defaults || {}, Boolean(model.schedule || model.every));
  if (!given) return;
  await act(button, async () => {
    const form = new FormData();
    form.append("yaml", text.value);
    form.append("params", JSON.stringify(given));
    for (const [path, file] of files) { form.append("file", file, file.name); form.append("path", path); }
    try {
      const answer = await postForm("/pipelines/deploy", form);
      try { sessionStorage.removeItem(KEEP); } catch { /* was not kept */ }
      location.href = answer.run_id ? runUrl(answer.run_id) : `/schedules?search=${encodeURIComponent(answer.schedule)}`;
    } catch (error) {
      if (error.problems?.length) { problems = error.problems; drawProblems(); drawGraph(); verdict("refused", "bad"); }
      throw error;
    }
  });
  if (!problems.length && text.value.trim()) button.disabled = false;
}

async function load(run) {
  await act(null, async () => {
    const answer = await get(`/runs/${encodeURIComponent(run)}/pipeline`);
    serial += 1;
    text.value = answer.yaml;
    chosen = null;
    graph.moved = false;
    if (answer.pipeline.project) tell("Its files came in one archive. Add the folder again before you deploy it.");
    changed();
  });
}

$("add").addEventListener("click", add);
$("deploy").addEventListener("click", (event) => deploy(event.currentTarget));
$("load").addEventListener("change", (event) => { if (event.target.value) load(event.target.value); });
for (const name of ["attach", "attach-folder"]) $(name).addEventListener("change", (event) => { attach([...event.target.files]); event.target.value = ""; });
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => { event.preventDefault(); if (kind === "drop") attach([...event.dataTransfer.files]); });

listen([], {});
get("/files").then(({ files: found }) => { known = found.map((each) => each.name); drawProperties(); }).catch(() => {});
get("/runs?limit=50").then(({ runs }) => $("load").append(...runs.map((run) => h("option", { value: run.run_id }, `${run.name || run.run_id} (${run.total} ${run.total === 1 ? "job" : "jobs"})`)))).catch(() => {});
const wanted = new URLSearchParams(location.search).get("run");
let kept = "";
try { kept = sessionStorage.getItem(KEEP) || ""; } catch { /* none */ }
if (wanted) load(wanted);
else { text.value = kept; changed(); }
drawGraph();
