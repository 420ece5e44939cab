import { get } from "../api.js";
import { decideButtons, decision, who } from "../deciding.js";
import { $, empty, h, show } from "../dom.js";
import { badge, jobName, jobUrl, moment, runUrl, when } from "../format.js";
import { follow } from "../listing.js";

const runOf = (key) => key.slice(0, key.indexOf("/"));
const name = (key) => h("td", { class: "name" }, h("a", { href: jobUrl(key), data: { key } }, jobName(key)), h("small", { class: "mono" }, h("a", { href: runUrl(runOf(key)) }, runOf(key))));

function open({ approvals, total }) {
  show($("open"), approvals.length
    ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Job", "Question", "Asked", "Without an answer", ""].map((words) => h("th", {}, words)))),
      h("tbody", {}, approvals.map((each) => h("tr", {}, name(each.key), h("td", { class: "question" }, each.message), h("td", { class: "nowrap" }, when(each.asked_at)),
        h("td", { class: "nowrap" }, each.expires_at ? `${each.on_timeout === "approve" ? "approved" : "rejected"} at ${moment(each.expires_at)}` : h("span", { class: "muted" }, "waits as long as it takes")),
        h("td", { class: "acts" }, decideButtons(each))))))
    : empty("Nothing waits for a person", "Give a job ", h("code", {}, 'approve: "Ship it?"'), " in its pipeline, and it waits here for an answer before it starts."),
  total > approvals.length && h("p", { class: "empty hint" }, `The first ${approvals.length} of ${total}.`));
}

function decided({ approvals }) {
  $("decided-part").hidden = !approvals.length;
  show($("decided"), h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Job", "Question", "Answer", "By", "Comment", "When"].map((words) => h("th", {}, words)))),
    h("tbody", {}, approvals.map((each) => h("tr", {}, name(each.key), h("td", { class: "question" }, each.message), h("td", {}, badge(...decision(each))),
      h("td", {}, who(each)), h("td", { class: "why" }, each.comment), h("td", { class: "nowrap" }, when(each.decided_at)))))));
}

const readDecided = () => get("/approvals?decided=1").then(decided).catch(() => {});
follow("approvals", "/approvals", open, (error) => show($("open"), empty("The approvals cannot be shown", error.message)), { decisions: decided }, ["decisions"]);
readDecided();
