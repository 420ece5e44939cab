// How far a run has come, as a bar of its jobs' states.
import { h } from "./dom.js";
import { STATES, WORDS } from "./format.js";

const ORDER = ["COMPLETED", "RUNNING", "DEAD", "CANCELLED", "SKIPPED", "PENDING", "DELAYED", "HELD", "WAITING"];

export const parts = (states) => ORDER.filter((each) => states[each]).map((each) => h("i", { class: `fill-${each}`, vars: { "flex-grow": String(states[each]) } }));

export const mini = (run) => h("div", { class: "mini", title: STATES.filter((each) => run.states[each]).map((each) => `${run.states[each]} ${WORDS[each].toLowerCase()}`).join(", ") }, parts(run.states));
