// Requests to /api/v1, what goes wrong as a message at the edge of the page.
import { $, h } from "./dom.js";

const CSRF = document.querySelector("meta[name=csrf]")?.content || "";

export class Refused extends Error {
  constructor(status, body) {
    super(body.error || `error ${status}`);
    this.status = status;
    this.problems = body.problems || [];
  }
}

async function ask(method, path, { json, form } = {}) {
  const headers = {};
  if (method !== "GET") headers["X-Titan-CSRF"] = CSRF;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/v1${path}`, { method, headers, body: form || (json === undefined ? undefined : JSON.stringify(json)) });
  } catch {
    throw new Refused(0, { error: "the dashboard does not answer" });
  }
  if (response.status === 401) {
    location.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    throw new Refused(401, { error: "log in again" });
  }
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
  return response;
}

export const get = async (path) => (await ask("GET", path)).json();
export const post = async (path, json = {}) => (await ask("POST", path, { json })).json();
export const postForm = async (path, form) => (await ask("POST", path, { form })).json();
export const getBytes = (path) => ask("GET", path);

export async function logOut() {
  await fetch("/logout", { method: "POST", headers: { "X-Titan-CSRF": CSRF } });
  location.href = "/login";
}

/** A message that goes away by itself; with a link when there is somewhere to go. */
export function tell(text, { bad = false, href = "", words = "" } = {}) {
  const node = h("div", { class: bad ? "toast bad" : "toast" }, text, href && " ", href && h("a", { href }, words));
  $("toasts").append(node);
  setTimeout(() => node.remove(), bad ? 9000 : 6000);
}

/** Run an action of a button: disabled meanwhile, errors told. */
export async function act(button, action) {
  if (button) button.disabled = true;
  try {
    return await action();
  } catch (error) {
    tell(error.problems?.length ? `${error.message}` : error.message, { bad: true });
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

/** Ask before something that cannot be taken back; resolves to whether it is wanted. */
export function confirm(title, text, words, danger = true) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "dialog" }, h("form", { method: "dialog" },
      h("h2", {}, title), h("p", {}, text),
      h("div", { class: "dialog-end" },
        h("button", { class: "button", value: "" }, "Back"),
        h("button", { class: danger ? "button danger" : "button primary", value: "yes", autofocus: true }, words))));
    dialog.addEventListener("close", () => { resolve(dialog.returnValue === "yes"); dialog.remove(); });
    document.body.append(dialog);
    dialog.showModal();
  });
}
