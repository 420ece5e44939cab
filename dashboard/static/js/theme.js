// Before the first paint: the theme that was chosen here, if any; otherwise the system's.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("titan-theme"); } catch { /* storage may be off */ }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
