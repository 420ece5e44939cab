import { requeueButton } from "../actions.js";
import { act, confirm, get, post, tell } from "../api.js";
import { $, empty, h, segments, show } from "../dom.js";
import { listen } from "../events.js";
import { jobUrl, runUrl, when } from "../format.js";

let jobs = [], total = 0, dead = -1, kind = "own", reading = false, again = false;

// Jobs that only followed a failed parent say so; what a person looks for is the one that failed by itself.
const followed = (job) => !job.started_at;
const chosen = () => {
  const needle = $("search").value.toLowerCase();
  return jobs.filter((job) => (kind === "all" || !followed(job)) && (!needle || [job.key, job.run_name, job.reason, job.worker, job.file].some((text) => text.toLowerCase().includes(needle))));
};

function draw() {
  const found = chosen();
  show($("actions"), found.length > 1 && h("button", { type: "button", class: "button", data: { key: "all" }, onclick: (event) => requeueAll(event.currentTarget, found) }, `Requeue all ${found.length}`));
  show($("jobs"), found.length
    ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Job", "Why", "Worker", "Ended", ""].map((words) => h("th", {}, words)))),
      h("tbody", {}, found.slice(0, 300).map((job) => h("tr", {},
        h("td", { class: "name" }, h("a", { href: jobUrl(job.key), data: { key: job.key } }, job.id), h("small", {}, job.run_name && ["of ", h("a", { href: runUrl(job.run_id) }, job.run_name), " · "], job.file, job.attempt > 1 ? ` · ${job.attempt} attempts` : "")),
        h("td", { class: "why" }, job.reason || "", job.exit_code === null || job.reason.includes("exit code") ? "" : h("span", { class: "nowrap" }, ` (exit code ${job.exit_code})`)),
        h("td", { class: "nowrap" }, job.worker), h("td", { class: "nowrap" }, when(job.ended_at)),
        h("td", { class: "acts" }, h("a", { class: "button small", href: jobUrl(job.key) }, "Log"), requeueButton(job.key))))))
    : jobs.length ? empty("No failure is like that", "Change the search, or look at all of them.")
      : empty("Nothing has failed", "Jobs that used up their retries come here, with the reason, their log, and a button to run them again."),
  total > jobs.length && h("p", { class: "empty hint" }, `The newest ${jobs.length} of ${total}.`));
}

async function requeueAll(button, found) {
  if (!await confirm(`Requeue ${found.length} jobs?`, "They are submitted again with what waits for them, as one new run for each run that they are of.", "Requeue all", false)) return;
  await act(button, async () => {
    let done = 0;
    const problems = [], runs = new Map();
    for (const job of found) runs.set(job.run_id, [...(runs.get(job.run_id) || []), job.id]);
    for (const [run, ids] of runs) {
      try { await post(`/runs/${encodeURIComponent(run)}/rerun`, { what: "rest", jobs: ids }); done += ids.length; } catch (error) { problems.push(`${ids[0]}: ${error.message}`); }
    }
    tell(`${done} of ${found.length} are submitted again.${problems.length ? ` ${problems[0]}` : ""}`, { bad: problems.length > 0, href: "/runs", words: "Show the runs" });
  });
}

async function read() {
  if (reading) { again = true; return; }
  reading = true;
  try {
    const answer = await get("/jobs?state=DEAD&limit=1000");
    jobs = answer.jobs.sort((a, b) => b.ended_at - a.ended_at);
    total = answer.total;
    draw();
  } catch (error) {
    if (!jobs.length) show($("jobs"), empty("The failures cannot be shown", error.message));
    dead = -1;
  } finally {
    reading = false;
    if (again) { again = false; read(); }
  }
}

$("search").addEventListener("input", draw);
segments($("kinds"), [["own", "Failed themselves"], ["all", "All, with those that waited"]], "own", (value) => { kind = value; draw(); });
listen(["overview"], {
  overview: (data) => { if ((data.counts.DEAD || 0) !== dead) { dead = data.counts.DEAD || 0; read(); } },
});
