import { $, empty, h, segments, show } from "../dom.js";
import { listen } from "../events.js";
import { badge, running, runUrl, STATES, when, WORDS } from "../format.js";

const runs = new Map();
let state = "";

function mini(run) {
  return h("div", { class: "mini", title: STATES.filter((each) => run.states[each]).map((each) => `${run.states[each]} ${WORDS[each].toLowerCase()}`).join(", ") },
    ["COMPLETED", "RUNNING", "DEAD", "CANCELLED", "SKIPPED", "PENDING", "DELAYED", "HELD", "WAITING"].filter((each) => run.states[each])
      .map((each) => h("i", { class: `fill-${each}`, vars: { "flex-grow": String(run.states[each]) } })));
}

function draw() {
  const needle = $("search").value.toLowerCase();
  const all = [...runs.values()].sort((a, b) => b.submitted_at - a.submitted_at);
  const found = all.filter((run) => (!state || run.state === state || (state === "RUNNING" && !run.finished)) && (!needle || run.name.toLowerCase().includes(needle) || run.run_id.includes(needle)));
  show($("runs"), found.length
    ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Run", "State", "Jobs", "", "Submitted", "Took"].map((words, number) => h("th", { class: number === 2 ? "num" : "" }, words)))),
      h("tbody", {}, found.slice(0, 300).map((run) => h("tr", {},
        h("td", { class: "name" }, h("a", { href: runUrl(run.run_id), data: { key: run.run_id } }, run.name || run.run_id), h("small", { class: "mono" }, run.run_id)),
        h("td", {}, badge(run.state)), h("td", { class: "num" }, run.total.toLocaleString(), h("span", { class: "narrow-only" }, run.total === 1 ? " job" : " jobs")), h("td", {}, mini(run)),
        h("td", { class: "nowrap" }, when(run.submitted_at)), h("td", { class: "nowrap" }, running(run.submitted_at, run.finished ? run.ended_at || run.submitted_at : 0))))))
    : all.length ? empty("No run is like that", "Change the search or the state.")
      : empty("No runs yet", h("a", { class: "button primary", href: "/new" }, "Submit the first one")));
}

$("search").addEventListener("input", draw);
segments($("states"), [["", "All"], ["RUNNING", "Open"], ["COMPLETED", "Completed"], ["DEAD", "Failed"], ["CANCELLED", "Cancelled"]], "", (chosen) => { state = chosen; draw(); });
listen(["runs"], {
  runs: (data) => {
    if (data.all) runs.clear();
    for (const run of data.runs) runs.set(run.run_id, run);
    draw();
  },
});
