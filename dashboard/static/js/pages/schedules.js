import { act, confirm, get, post, tell } from "../api.js";
import { $, empty, h, show } from "../dom.js";
import { badge, brief, moment, runUrl, until, when, wholeTime } from "../format.js";
import { follow } from "../listing.js";

let schedules = [], total = 0;
const opened = new Map(); // name -> {stamp, firings} of the histories that are shown

const api = (name, action) => `/schedules/${encodeURIComponent(name)}/${action}`;
const stamp = (each) => JSON.stringify([each.fired, each.skipped, each.missed, each.refused, each.last_run]);
const OUTCOMES = { fired: "RUNNING", skipped: "CANCELLED", missed: "PENDING", refused: "DEAD" };
const upper = (text) => text.replace(/^./, (first) => first.toUpperCase());

function rhythm({ when: recurrence }) {
  const words = recurrence.cron ? [h("code", {}, recurrence.cron), recurrence.timezone !== "UTC" && ` in ${recurrence.timezone}`] : `every ${brief(recurrence.every_ms)}`;
  const rest = [recurrence.overlap !== "skip" && `overlap: ${recurrence.overlap}`, recurrence.misfire !== "latest" && `misfire: ${recurrence.misfire}`, recurrence.jitter_ms > 0 && `up to ${brief(recurrence.jitter_ms)} later`].filter(Boolean);
  return [words, rest.length > 0 && h("small", { class: "under" }, rest.join(", "))];
}

function next(each) {
  if (each.problem) return h("span", { class: "bad-text" }, each.problem);
  if (each.paused) return badge("PENDING", "Paused");
  if (!each.next_due.length) return h("span", { class: "muted" }, "over");
  return [until(each.next_due[0]), h("small", { class: "under" }, each.next_due.map((at, number) => [number > 0 && " · ", h("span", { class: "nowrap", title: wholeTime(at) }, moment(at))]))];
}

function last({ last_run: run, active }) {
  if (!run) return h("span", { class: "muted" }, "never");
  return [h("a", { href: runUrl(run.run_id) }, badge(run.state || "RUNNING")), h("small", { class: "under" }, when(run.at), active.length > 1 && ` · ${active.length} at once`)];
}

const small = (words, name, action, kind = "") => h("button", { type: "button", class: `button small ${kind}`, data: { key: `${words}-${name}` }, onclick: (event) => action(event.currentTarget, name) }, words);

async function trigger(button, name) {
  const answer = await act(button, () => post(api(name, "trigger")));
  if (answer?.run_id) tell(`${name} runs now.`, { href: runUrl(answer.run_id), words: "Show the run" });
  else if (answer) tell(`${name} runs when its former run has ended.`);
}
async function pause(button, name) { if (await act(button, () => post(api(name, "pause")))) tell(`${name} is paused.`); }
async function resume(button, name) { if (await act(button, () => post(api(name, "resume")))) tell(`${name} goes on.`); }
async function forget(button, name) {
  if (!await confirm(`Delete the schedule ${name}?`, "Nothing is run by it any more, and its history goes; its runs stay, and those that run go on.", "Delete")) return;
  if (await act(button, () => post(api(name, "delete")))) tell(`${name} is deleted.`);
}

function row(each) {
  const counts = ["fired", "skipped", "missed", "refused"].filter((kind) => each[kind]).map((kind) => `${each[kind].toLocaleString()} ${kind}`);
  return [h("tr", { data: { name: each.name } },
    h("td", { class: "name" }, each.name, h("small", {}, `${each.total} ${each.total === 1 ? "job" : "jobs"}: ${each.jobs.slice(0, 6).join(", ")}${each.total > 6 ? " …" : ""}`)),
    h("td", {}, rhythm(each)), h("td", {}, next(each)), h("td", {}, last(each)), h("td", { class: "muted" }, counts.join(", ")),
    h("td", { class: "acts wrap" }, small("History", each.name, (_, name) => toggle(name)), small("Run now", each.name, trigger), each.paused ? small("Resume", each.name, resume) : small("Pause", each.name, pause), small("Delete", each.name, forget, "danger"))),
  opened.has(each.name) && h("tr", { class: "detail" }, h("td", { colspan: "6" }, history(each.name)))];
}

function history(name) {
  const { firings, problem } = opened.get(name);
  if (problem || !firings) return h("p", { class: "hint" }, problem || "Loading…");
  if (!firings.length) return h("p", { class: "hint" }, "It was not due yet.");
  return h("table", {}, h("thead", {}, h("tr", {}, ["Due", "What became of it", "Run", "Why"].map((words) => h("th", {}, words)))),
    h("tbody", {}, firings.map((each) => h("tr", {},
      h("td", { class: "nowrap", title: wholeTime(each.due_at) }, each.manual ? `${moment(each.at)}, by hand` : moment(each.due_at)),
      h("td", {}, badge(each.state || OUTCOMES[each.outcome], each.state ? null : each.count > 1 ? `${each.count} ${each.outcome}` : upper(each.outcome))),
      h("td", {}, each.run_id && h("a", { href: runUrl(each.run_id) }, each.run_id)), h("td", { class: "why" }, each.reason)))));
}

async function look(name) {
  const now = schedules.find((each) => each.name === name);
  if (!now) { opened.delete(name); return; }
  const mine = stamp(now);
  if (opened.get(name).stamp === mine) return;
  opened.get(name).stamp = mine;
  try {
    const { firings } = await get(api(name, "firings"));
    if (opened.get(name)?.stamp === mine) { opened.set(name, { stamp: mine, firings }); draw(); }
  } catch (error) {
    if (opened.has(name)) { opened.set(name, { problem: error.message }); draw(); }
  }
}

function toggle(name) {
  if (opened.has(name)) opened.delete(name); else { opened.set(name, {}); look(name); }
  draw();
}

function draw() {
  const needle = $("search").value.toLowerCase();
  const found = schedules.filter((each) => !needle || each.name.toLowerCase().includes(needle) || each.jobs.some((id) => id.toLowerCase().includes(needle)));
  show($("schedules"), found.length
    ? h("table", { class: "stack" }, h("thead", {}, h("tr", {}, ["Schedule", "When", "Next", "Last run", "So far", ""].map((words) => h("th", {}, words)))), h("tbody", {}, found.map(row)))
    : schedules.length ? empty("No schedule is called that", "Change the search.")
      : empty("No schedules", "Give a pipeline a ", h("code", {}, "schedule"), " and ", h("a", { href: "/new" }, "deploy it"), ": it runs again and again from then on, and its next times are shown here."),
  total > schedules.length && h("p", { class: "empty hint" }, `The first ${schedules.length} of ${total}.`));
}

$("search").value = new URLSearchParams(location.search).get("search") || "";
$("search").addEventListener("input", draw);
follow("schedules", "/schedules", (data) => {
  ({ schedules, total } = data);
  for (const name of [...opened.keys()]) look(name);
  draw();
}, (error) => show($("schedules"), empty("The schedules cannot be shown", error.message)));
