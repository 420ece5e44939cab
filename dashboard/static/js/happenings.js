// Events of the cluster as people read them.
import { h } from "./dom.js";
import { jobName, jobUrl, when } from "./format.js";

// Kinds of the master, their words, and which of the page's groups and colours they belong to.
const KINDS = {
  "worker-joined": ["Worker joined", "workers", "good"], "worker-back": ["Worker back", "workers", "good"],
  "worker-away": ["Worker away", "workers", "warn"], "worker-left": ["Worker left", "workers", ""],
  "worker-died": ["Worker died", "workers", "bad"], "worker-draining": ["Worker ending", "workers", "warn"],
  "worker-cordoned": ["Worker drained", "workers", "warn"], "worker-uncordoned": ["Worker undrained", "workers", "good"],
  "scale-up": ["Scaled up", "scaling", "good"], "scale-up-failed": ["Scale-up failed", "scaling", "bad"],
  "scale-down": ["Scaled down", "scaling", ""], "scale-limit": ["Scaling limit", "scaling", "warn"],
  "machines-wanted": ["Machines wanted", "scaling", "warn"], "machines-asked": ["Machines asked for", "scaling", ""],
  "machines-not-asked": ["Machines not asked for", "scaling", "bad"],
  "approval-asked": ["Approval asked for", "jobs", "warn"], "approval-given": ["Approved", "jobs", "good"],
  "approval-refused": ["Rejected", "jobs", "bad"], "approval-expired": ["Approval expired", "jobs", "warn"],
  "approval-withdrawn": ["Question withdrawn", "jobs", ""],
  "repair-begun": ["Repair begun", "jobs", "warn"], "repair-applied": ["Repaired", "jobs", "good"], "repair-failed": ["Repair failed", "jobs", "bad"],
  "job-quarantined": ["Job quarantined", "jobs", "bad"], "service-restarting": ["Service restarting", "jobs", "warn"],
  "service-moved": ["Service moved", "jobs", "warn"],
  "service-crash-loop": ["Crash loop", "jobs", "bad"],
  "schedule-skipped": ["Schedule skipped", "schedules", "warn"], "schedule-missed": ["Schedule missed", "schedules", "warn"],
  "schedule-refused": ["Schedule refused", "schedules", "bad"],
};
const GROUPS = { worker: "workers", scale: "scaling", machines: "scaling", schedule: "schedules" }; // of other kinds, by their first word
const of = (kind) => KINDS[kind] || [kind.replaceAll("-", " ").replace(/^./, (first) => first.toUpperCase()), GROUPS[kind.split("-")[0]] || "jobs", ""];

export const words = (kind) => of(kind)[0];
export const group = (kind) => of(kind)[1];
export const mark = (kind) => h("span", { class: `badge event ${of(kind)[2]}` }, words(kind));

/** What an event is about; a job leads to its page. */
export function about(event) {
  return group(event.kind) === "jobs" && event.subject.includes("/") ? h("a", { href: jobUrl(event.subject) }, jobName(event.subject)) : event.subject;
}

export const list = (events) => h("ul", { class: "list" }, events.map((event) => h("li", {},
  h("span", { class: "title" }, words(event.kind)), h("span", { class: "sub" }, event.text), h("span", { class: "end" }, when(event.at)))));
