import { $, empty, h, segments, show } from "../dom.js";
import { listen } from "../events.js";
import { when } from "../format.js";
import { about, group, mark, words } from "../happenings.js";

const KEPT = 1000, SHOWN = 300;
let events = [], kind = "";

function draw() {
  const needle = $("search").value.toLowerCase();
  const found = events.filter((event) => (!kind || group(event.kind) === kind)
    && (!needle || [words(event.kind), event.subject, event.text].some((text) => text.toLowerCase().includes(needle))));
  show($("events"), found.length
    ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["When", "Event", "About", "What, and why"].map((text) => h("th", {}, text)))),
      h("tbody", {}, found.slice(-SHOWN).reverse().map((event) => h("tr", { data: { seq: String(event.seq) } },
        h("td", { class: "nowrap muted" }, when(event.at)), h("td", {}, mark(event.kind)),
        h("td", { class: group(event.kind) === "workers" ? "name nowrap" : "name" }, about(event)), h("td", { class: "why" }, event.text)))))
    : events.length ? empty("No event is like that", "Change the search, or look at all of them.")
      : empty("Nothing has happened yet", "Workers that come and go, scaling, and services that are started again are told here as it happens."),
  found.length > SHOWN && h("p", { class: "empty hint" }, `The newest ${SHOWN} of ${found.length}; the search finds the others.`));
}

$("search").addEventListener("input", draw);
segments($("kinds"), [["", "All"], ["workers", "Workers"], ["scaling", "Scaling"], ["schedules", "Schedules"], ["jobs", "Services and jobs"]], "", (chosen) => { kind = chosen; draw(); });
listen(["events"], {
  events: (data) => {
    events = data.all ? data.events : [...events, ...data.events].slice(-KEPT);
    draw();
  },
});
