// Approving and rejecting, the same wherever it is offered.
import { act, post, tell } from "./api.js";
import { h } from "./dom.js";
import { jobApi, jobName } from "./format.js";

const KEEP = "titan-name";
const kept = () => { try { return localStorage.getItem(KEEP) || ""; } catch { return ""; } };

function ask(approval, approve) {
  const words = approve ? "Approve" : "Reject";
  const by = h("input", { value: kept(), autocomplete: "name", maxlength: 256, placeholder: "dashboard" });
  const comment = h("textarea", { rows: 3, maxlength: 4000 });
  const back = h("button", { type: "button", class: "button" }, "Back");
  const form = h("form", { method: "dialog" }, h("h2", {}, `${words} ${jobName(approval.key)}?`), h("p", {}, approval.message),
    h("label", {}, approve ? "Comment" : "Why", comment), h("label", {}, "Your name", by),
    h("div", { class: "dialog-end" }, back, h("button", { class: approve ? "button primary" : "button danger", value: "yes" }, words)));
  const dialog = h("dialog", { class: "dialog" }, form);
  back.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    try { localStorage.setItem(KEEP, by.value); } catch { /* not kept then */ }
    act(event.submitter, async () => {
      const wanted = { approve, number: approval.number, by: by.value.trim(), comment: comment.value.trim() };
      await post(jobApi(approval.key, "decide"), wanted);
      dialog.close();
      tell(`${jobName(approval.key)} is ${approve ? "approved" : "rejected"}.`);
    });
  });
  document.body.append(dialog);
  dialog.showModal();
  comment.focus();
}

export function decideButtons(approval, size = "small") {
  const button = (words, approve, kind) => h("button", { type: "button", class: `button ${size} ${kind}`, data: { key: `${words}-${approval.key}` }, onclick: () => ask(approval, approve) }, words);
  return [button("Approve", true, "primary"), button("Reject", false, "danger")];
}

const DECISIONS = { approved: ["ready", "Approved"], rejected: ["DEAD", "Rejected"], withdrawn: ["", "Withdrawn"] };
export const decision = (approval) => DECISIONS[approval.decision] || ["HELD", "Waits for an answer"];
export const who = (approval) => (approval.by === "timeout" ? "nobody in time" : approval.by);
