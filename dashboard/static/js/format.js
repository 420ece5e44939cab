// Numbers and times for people, in the viewer's zone and language.
import { h } from "./dom.js";

export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  ms = Math.max(0, ms);
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

/** The same in one unit, for an axis. */
export function brief(ms) {
  const [value, unit] = ms < 1000 ? [ms, "ms"] : ms < 120_000 ? [ms / 1000, "s"] : ms < 7_200_000 ? [ms / 60_000, "min"] : [ms / 3_600_000, "h"];
  return `${Number(value.toFixed(value < 10 ? 1 : 0))} ${unit}`;
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KB", "MB", "GB", "TB"];
  let unit = -1;
  do { count /= 1024; unit += 1; } while (count >= 1024 && unit < 3);
  return `${count.toFixed(count < 10 ? 1 : 0)} ${units[unit]}`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

// Times come from the clocks of other machines, and may be anything.
const sane = (ms) => Number.isFinite(ms) && Math.abs(ms) <= 8.64e15;

export const clock = (ms) => (sane(ms) ? CLOCK.format(ms) : "–");
export const wholeTime = (ms) => (sane(ms) ? WHOLE.format(ms) : "–");
export const isoTime = (ms) => (sane(ms) ? new Date(ms).toISOString() : "");

/** The time of day, with the date when it was another day. */
export function moment(ms) {
  if (!sane(ms)) return "–";
  return new Date(ms).toDateString() === new Date().toDateString() ? CLOCK.format(ms) : DAY.format(ms);
}

/** Like "3 min ago". */
export function ago(ms) {
  const past = Date.now() - ms;
  if (past < 5_000) return "just now";
  if (past < 60_000) return `${Math.floor(past / 1000)} s ago`;
  if (past < 3_600_000) return `${Math.floor(past / 60_000)} min ago`;
  if (past < 86_400_000) return `${Math.floor(past / 3_600_000)} h ago`;
  return moment(ms);
}

/** A time that is kept up to date while it is on the page. */
export function when(ms) {
  if (!ms) return h("span", {}, "–");
  return h("time", { datetime: isoTime(ms), title: wholeTime(ms), data: { ago: String(ms) } }, ago(ms));
}

function inTime(ms) {
  const left = ms - Date.now();
  return left < 1000 ? "now" : `in ${duration(left)}`;
}

/** A time to come, that is kept up to date while it is on the page. */
export const until = (ms) => h("time", { datetime: isoTime(ms), title: wholeTime(ms), data: { until: String(ms) } }, inTime(ms));

/** Running time: of what has ended, or counting. */
export function running(start, end) {
  if (!start) return h("span", {}, "–");
  if (end) return h("span", {}, duration(end - start));
  return h("span", { data: { since: String(start) } }, duration(Date.now() - start));
}

setInterval(() => {
  if (document.hidden) return;
  for (const node of document.querySelectorAll("[data-ago]")) node.textContent = ago(Number(node.dataset.ago));
  for (const node of document.querySelectorAll("[data-until]")) node.textContent = inTime(Number(node.dataset.until));
  for (const node of document.querySelectorAll("[data-since]")) node.textContent = duration(Date.now() - Number(node.dataset.since));
}, 1000);

export const STATES = ["RUNNING", "PENDING", "DELAYED", "HELD", "WAITING", "COMPLETED", "DEAD", "CANCELLED", "SKIPPED"];
export const WORDS = {
  RUNNING: "Running", PENDING: "Queued", DELAYED: "Delayed", HELD: "To approve", WAITING: "Waiting", COMPLETED: "Completed",
  DEAD: "Failed", CANCELLED: "Cancelled", SKIPPED: "Skipped",
};

const OUTCOMES = { completed: "completed", failed: "failed", cancelled: "cancelled", timed_out: "timed out", handed_back: "handed back by its worker", lost: "lost with its worker" };
/** How an attempt ended. */
export function outcome(each) {
  if (!each.outcome && !each.ended_at) return "running";
  const words = OUTCOMES[each.outcome] || each.outcome || "ended";
  return each.exit_code ? `${words}, exit code ${each.exit_code}` : words;
}

export const badge = (state, words) => h("span", { class: `badge ${state}` }, words || WORDS[state] || state);

export const runUrl = (run) => `/runs/${encodeURIComponent(run)}`;
export function jobUrl(key) {
  const cut = key.indexOf("/");
  return `${runUrl(key.slice(0, cut))}/${encodeURIComponent(key.slice(cut + 1))}`;
}
export const jobName = (key) => key.slice(key.indexOf("/") + 1);
export function jobApi(key, action = "") {
  const cut = key.indexOf("/");
  return `/runs/${encodeURIComponent(key.slice(0, cut))}/jobs/${encodeURIComponent(key.slice(cut + 1))}${action && `/${action}`}`;
}
