// The frame around every page.
import { logOut } from "./api.js";
import { $ } from "./dom.js";

$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const chosen = dark ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try { localStorage.setItem("titan-theme", chosen); } catch { /* not kept then */ }
  window.dispatchEvent(new Event("themechange"));
});
$("leave").addEventListener("click", logOut);
document.querySelector(".links [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
