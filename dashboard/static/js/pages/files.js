import { act, get, post, postForm, tell } from "../api.js";
import { $, empty, h, segments, show } from "../dom.js";
import { listen } from "../events.js";
import { bytes, runUrl, when } from "../format.js";

let files = [], staged = false, name = "";

function draw() {
  const needle = $("search").value.toLowerCase();
  const found = files.filter((file) => !needle || `${file.folder}/${file.name}`.toLowerCase().includes(needle));
  show($("files"), found.length
    ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Name", "Folder", "Size", "Changed", ""].map((words, number) => h("th", { class: number === 2 ? "num" : "" }, words)))),
      h("tbody", {}, found.slice(0, 500).map((file) => h("tr", {},
        h("td", { class: "name" }, file.name), h("td", {}, file.folder), h("td", { class: "num nowrap" }, bytes(file.size)), h("td", { class: "nowrap" }, when(file.modified_at)),
        h("td", { class: "acts" },
          h("a", { class: "button small", href: `/api/v1/files/${encodeURIComponent(file.name)}`, download: file.name }, "Download"),
          /\.(py|sh|jar)$/.test(file.name) && h("button", { type: "button", class: "button small", data: { key: file.name }, onclick: () => ask(file.name) }, "Run"))))))
    : files.length ? empty("No file is called that", "Change the search.")
      : staged ? empty("Nothing was staged", "Files that submissions bring along are kept here.")
        : empty("No files yet", "Upload scripts here, and run them by name: from this page, from a pipeline, or with ", h("code", {}, "run FILE"), " in the shell."));
}

async function read() {
  try {
    files = (await get(`/files?staged=${staged ? 1 : 0}`)).files;
    draw();
  } catch (error) {
    if (!files.length) show($("files"), empty("The files cannot be shown", error.message));
  }
}

async function upload(list) {
  if (!list.length) return;
  const form = new FormData();
  for (const file of list) form.append("file", file);
  await act(null, async () => {
    const answer = await postForm("/files", form);
    tell(`${answer.names.join(", ")} ${answer.names.length === 1 ? "is" : "are"} there.`);
    await read();
  });
}

function ask(file) {
  name = file;
  $("run-title").textContent = `Run ${file}`;
  $("run-dialog").showModal();
}

$("run-close").addEventListener("click", () => $("run-dialog").close());
$("run-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const values = new FormData(event.target);
  act(event.submitter, async () => {
    const answer = await post(`/files/${encodeURIComponent(name)}/run`, { args: values.get("args"), requirement: values.get("requirement"), service: values.get("service") === "on", port: Number(values.get("port")) });
    $("run-dialog").close();
    tell(`${name} is submitted.`, { href: runUrl(answer.run_id), words: "Show the run" });
  });
});
$("upload").addEventListener("change", async (event) => { await upload([...event.target.files]); event.target.value = ""; });
for (const kind of ["dragover", "dragenter"]) document.addEventListener(kind, (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, (event) => { event.preventDefault(); document.body.classList.remove("dropping"); if (kind === "drop") upload([...event.dataTransfer.files]); });
$("search").addEventListener("input", draw);
segments($("kinds"), [["own", "Put here by people"], ["staged", "Staged by submissions"]], "own", (value) => { staged = value === "staged"; read(); });
listen([], { master: (master) => { if (master.up) read(); } });
