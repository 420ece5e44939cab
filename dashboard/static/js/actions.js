// What can be done to runs and jobs, the same wherever it is offered.
import { act, confirm, post, tell } from "./api.js";
import { h } from "./dom.js";
import { jobApi, jobName, runUrl } from "./format.js";

const FINAL = new Set(["COMPLETED", "SKIPPED", "DEAD", "CANCELLED"]);
export const isFinal = (state) => FINAL.has(state);

function submitted(answer, text) {
  if (answer) tell(text, { href: runUrl(answer.run_id), words: "Show the run" });
}

export function requeueButton(key) {
  return h("button", { type: "button", class: "button small", data: { key: `requeue-${key}` }, onclick: (event) =>
    act(event.currentTarget, async () => submitted(await post(jobApi(key, "requeue")), `${jobName(key)} is submitted again.`)) }, "Requeue");
}

export function jobButtons(job) {
  const run = (action, text) => async (event) => act(event.currentTarget, async () => submitted(await post(jobApi(job.key, action)), text));
  if (isFinal(job.state)) {
    if (job.kind === "service") return [h("button", { type: "button", class: "button", data: { key: "start" }, onclick: run("rerun", `${job.id} starts anew.`) }, "Start again")];
    return [
      job.state !== "COMPLETED" && h("button", { type: "button", class: "button primary", data: { key: "requeue" }, onclick: run("requeue", `${job.id} is submitted again, with what waits for it.`) }, "Requeue"),
      !job.instance_of && h("button", { type: "button", class: "button", data: { key: "rerun" }, onclick: run("rerun", `${job.id} runs again.`) }, "Run again"),
    ];
  }
  const buttons = [];
  if (job.kind !== "run") {
    if (job.kind === "service") buttons.push(h("button", { type: "button", class: "button", data: { key: "restart" }, onclick: (event) => restart(event.currentTarget, job.key) }, "Restart"));
    buttons.push(h("button", { type: "button", class: "button", data: { key: "stop" }, onclick: (event) => end(event.currentTarget, job.key, "stop") }, "Stop"));
  } else {
    buttons.push(h("button", { type: "button", class: "button danger", data: { key: "cancel" }, onclick: (event) => end(event.currentTarget, job.key, "cancel") }, "Cancel"));
  }
  return buttons;
}

export async function restart(button, key) {
  if (!await confirm(`Restart ${jobName(key)}?`, "Its processes are ended, and it is started again at once.", "Restart", false)) return;
  const answer = await act(button, () => post(jobApi(key, "restart")));
  if (answer) tell(answer.jobs.length ? `${jobName(key)} is being restarted.` : `${jobName(key)} is being ended.`);
}

export async function end(button, key, action) {
  const words = action === "stop" ? "Stop" : "Cancel";
  if (!await confirm(`${words} ${jobName(key)}?`, action === "stop" ? "Its processes are ended, and it counts as completed." : "Its processes are ended, and what waits for it does not run.", words)) return;
  const answer = await act(button, () => post(jobApi(key, action)));
  if (answer) tell(answer.text ? `${jobName(key)} is being ended.` : `${jobName(key)} had ended already.`);
}

export function runButtons(run) {
  const api = `/runs/${encodeURIComponent(run.run_id)}`;
  const again = (what, text) => (event) => act(event.currentTarget, async () => submitted(await post(`${api}/rerun`, { what }), text));
  const failed = (run.states.DEAD || 0) + (run.states.CANCELLED || 0);
  return [
    !run.finished && h("button", { type: "button", class: "button danger", data: { key: "cancel-run" }, onclick: async (event) => {
      const button = event.currentTarget;
      if (!await confirm(`Cancel ${run.name}?`, "All its jobs that have not ended are cancelled.", "Cancel the run")) return;
      const answer = await act(button, () => post(`${api}/cancel`));
      if (answer) tell(answer.text ? "The run is being cancelled." : "Everything had ended already.");
    } }, "Cancel"),
    run.open && h("button", { type: "button", class: "button", data: { key: "close-run" }, title: "Nothing more is added; it ends when its jobs have", onclick: async (event) => {
      const answer = await act(event.currentTarget, () => post(`${api}/close`));
      if (answer) tell(answer.text ? "The run is closed." : "The run was not open any more.");
    } }, "Close"),
    run.finished && failed > 0 && h("button", { type: "button", class: "button primary", data: { key: "rest" }, onclick: again("rest", "What did not complete runs again.") }, "Run the rest"),
    run.finished && h("button", { type: "button", class: "button", data: { key: "again" }, onclick: again("all", "The run starts again.") }, "Run again"),
    h("a", { class: "button", href: `/new?run=${encodeURIComponent(run.run_id)}` }, "Edit as new"),
  ];
}
