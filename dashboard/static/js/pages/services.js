import { end, isFinal, jobButtons } from "../actions.js";
import { $, empty, h, show } from "../dom.js";
import { listen } from "../events.js";
import { badge, jobUrl, running, when } from "../format.js";

function row(job) {
  const ready = job.state === "RUNNING" && job.ready;
  return h("tr", {},
    h("td", { class: "name" }, h("a", { href: jobUrl(job.key), data: { key: job.key } }, job.id), h("small", {}, job.file, job.kind === "worker" ? " · a worker" : "")),
    h("td", {}, badge(ready ? "ready" : job.state, ready ? "Ready" : null)),
    h("td", { class: "nowrap" }, job.worker),
    h("td", { class: "num nowrap" }, job.attempt > 1 ? `${job.attempt - 1} ${job.attempt === 2 ? "restart" : "restarts"}` : ""),
    h("td", { class: "nowrap" }, isFinal(job.state) ? when(job.ended_at) : running(job.started_at)),
    h("td", { class: "why" }, job.reason),
    h("td", { class: "acts" }, isFinal(job.state) ? jobButtons(job).slice(-1) : h("button", { type: "button", class: "button small", data: { key: `stop-${job.key}` }, onclick: (event) => end(event.currentTarget, job.key, "stop") }, "Stop")));
}

listen(["overview"], {
  overview: ({ services }) => {
    const open = services.filter((job) => !isFinal(job.state)), ended = services.filter((job) => isFinal(job.state)).slice(0, 30);
    show($("services"), services.length
      ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Service", "State", "Worker", "Restarts", "Up for", "Why", ""].map((words, number) => h("th", { class: number === 3 ? "num" : "" }, words)))),
        h("tbody", {}, [...open, ...ended].map(row)))
      : empty("No services", "A job of type SERVICE stays up until it is stopped. Write one in ", h("a", { href: "/new" }, "a pipeline"), " or start a ", h("a", { href: "/files" }, "file"), " as one."));
  },
});
