// What htmx's attributes alone cannot say: refreshing while somebody looks, and the chart.
(function () {
  "use strict";

  document.addEventListener("change", function (event) {
    if (event.target.matches("[data-submit-on-change]")) event.target.form.submit();
  });

  for (const element of document.querySelectorAll("[data-refresh-seconds]")) {
    const refresh = function () {
      if (document.visibilityState === "visible") htmx.trigger(element, "refresh");
    };
    setInterval(refresh, 1000 * Number(element.dataset.refreshSeconds));
    document.addEventListener("visibilitychange", refresh);
  }

  // a signed-out or missing page belongs into the window, not into a fragment
  document.addEventListener("htmx:beforeSwap", function (event) {
    if (event.detail.xhr.responseURL.includes("/sign-in/")) {
      event.detail.shouldSwap = false;
      window.location.reload();
    }
  });

  let chart = null;

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function columns() {
    const data = JSON.parse(document.getElementById("chart-data").textContent);
    // stacked: all that ended behind, what was successful before it
    const all = data.successful.map((count, index) => count + data.error[index]);
    return [data.start, all, data.successful];
  }

  function draw() {
    const target = document.getElementById("chart");
    if (!target || !target.clientWidth) return;
    if (chart) chart.destroy();
    const bars = uPlot.paths.bars({ size: [0.7, 40] });
    const text = color("--tblr-secondary"), grid = { stroke: color("--tblr-border-color"), width: 1 };
    const series = (fill) => ({ paths: bars, points: { show: false }, fill: fill, width: 0 });
    chart = new uPlot({
      width: target.clientWidth,
      height: 220,
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { range: (_, low, high) => [low - 1800, high + 1800] },
        y: { range: (_, low, high) => [0, Math.max(4, high * 1.1)] },
      },
      axes: [
        { stroke: text, grid: { show: false }, ticks: grid },
        { stroke: text, grid: grid, ticks: grid, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
      ],
      series: [{}, series(color("--tblr-red")), series(color("--tblr-green"))],
    }, columns(), target);
  }

  if (document.getElementById("chart")) {
    draw();
    document.addEventListener("fleetseal:theme", draw);
    window.addEventListener("resize", draw);
    document.body.addEventListener("htmx:afterSettle", function () {
      if (!document.getElementById("chart-data")) return;
      if (chart) chart.setData(columns());
      else draw();
    });
  }
})();
