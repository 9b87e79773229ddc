// What all charts share: the colors of the theme, and axes that look like the page's text.
window.fleetsealChart = (function () {
  "use strict";

  // a canvas knows neither variables nor light-dark(): let an element work it out
  function color(name) {
    const probe = document.body.appendChild(document.createElement("span"));
    probe.style.color = "var(" + name + ")";
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function axes(x) {
    const text = color("--tblr-secondary"), line = { stroke: color("--tblr-border-color"), width: 1 };
    const font = "12px " + getComputedStyle(document.body).fontFamily;
    return [
      { stroke: text, font: font, grid: { show: false }, ticks: line, size: 34, ...x },
      {
        stroke: text, font: font, grid: line, ticks: line, size: 48,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000],
      },
    ];
  }

  return { color: color, axes: axes };
})();
