// What has to be right with the first paint, light or dark above all; the switch is in main.js. Not a module, for those
// run after it.
(function () {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let choice = null;
    try {
      choice = localStorage.getItem("theme");
    } catch {
      /* no storage: follow the system */
    }
    document.documentElement.dataset.theme = choice || (dark.matches ? "dark" : "light");
  };
  dark.addEventListener("change", apply);
  // Another tab has switched it.
  addEventListener("storage", apply);
  apply();
  // A conversation is opened: no welcome before it.
  document.documentElement.classList.toggle("addressed", location.hash !== "");
})();
