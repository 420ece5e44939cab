// Files that jobs left.
import { h } from "./dom.js";
import { bytes, jobApi } from "./format.js";

/** A file that can be saved, with its size. */
export const saved = (each) => [h("a", { href: `/api/v1${jobApi(each.job, `artifacts/${encodeURIComponent(each.name)}`)}`, download: each.name, title: `SHA-256 ${each.sha256}` }, each.name), " ", h("small", { class: "muted nowrap" }, bytes(each.size))];
