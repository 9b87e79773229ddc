// Runs before the first paint, so that a dark page never flashes white.
(function () {
  "use strict";
  const key = "fleetseal-theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function current() {
    return localStorage.getItem(key) || (system.matches ? "dark" : "light");
  }

  function apply() {
    document.documentElement.setAttribute("data-bs-theme", current());
    document.dispatchEvent(new CustomEvent("fleetseal:theme"));
  }

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("click", function (event) {
    if (!event.target.closest("#theme-toggle")) return;
    localStorage.setItem(key, current() === "dark" ? "light" : "dark");
    apply();
  });
})();
