import { $, empty, segments, show } from "../dom.js";
import { listen } from "../events.js";
import { Gantt } from "../gantt.js";
import { jobUrl } from "../format.js";

const executions = new Map();
const gantt = new Gantt($("gantt"), (key) => { location.href = jobUrl(key); });
const blank = empty("Nothing has run yet", "Executions appear here as bars, one row for each slot of a worker.");
blank.hidden = true;
$("gantt").after(blank);
let dirty = false;

function drawSoon() {
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => {
    dirty = false;
    blank.hidden = executions.size > 0;
    gantt.set([...executions.values()]);
  });
}

segments($("span"), [["300", "5 min"], ["900", "15 min"], ["3600", "1 h"], ["21600", "6 h"], ["all", "All"]], "900", (chosen) => gantt.span(chosen));
listen(["timeline"], {
  executions: (data) => {
    if (data.all) executions.clear();
    for (const each of data.executions) executions.set(`${each.key}#${each.attempt}`, each);
    drawSoon();
  },
});
