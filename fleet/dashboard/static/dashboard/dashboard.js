// What htmx's attributes alone cannot say: refreshing while somebody looks, and the chart.
(function () {
  "use strict";

  document.addEventListener("change", function (event) {
    if (event.target.matches("[data-submit-on-change]")) event.target.form.submit();
  });

  // --- forms: the settings of the connector that is chosen --------------------------------------------------

  const chooser = document.querySelector("[data-chooses-connector]");

  function showConnectorSettings() {
    for (const field of document.querySelectorAll("[data-of-connector]")) {
      field.closest("[data-field]").hidden = field.dataset.ofConnector !== chooser.value;
    }
  }

  if (chooser) {
    chooser.addEventListener("change", showConnectorSettings);
    showConnectorSettings();
  }

  // --- parts that update themselves ---------------------------------------------------------------------

  function isReading(element) {
    const selection = document.getSelection();
    return !selection.isCollapsed && element.contains(selection.anchorNode);
  }

  // what is ticked or being chosen would be gone
  function isChoosing(element) {
    const focused = document.activeElement;
    return element.querySelector("input[type=checkbox]:checked") !== null
      || (element.contains(focused) && focused.matches("input, select"));
  }

  for (const element of document.querySelectorAll("[data-refresh-seconds]")) {
    const refresh = function () {
      if (element.querySelector("[data-ended]")) return;
      if (document.visibilityState !== "visible" || isReading(element) || isChoosing(element)) return;
      htmx.trigger(element, "refresh");
    };
    setInterval(refresh, 1000 * Number(element.dataset.refreshSeconds));
    document.addEventListener("visibilitychange", refresh);
  }

  // whoever stands on a link, has opened something, or has pushed a table sideways, finds it so again when
  // the part is replaced
  let kept = null;

  document.addEventListener("htmx:beforeSwap", function (event) {
    // a sign-in page belongs into the window, not into a fragment
    if (event.detail.xhr.responseURL.includes("/sign-in/")) {
      event.detail.shouldSwap = false;
      window.location.reload();
      return;
    }
    const target = event.detail.target, focused = document.activeElement;
    const links = [...target.querySelectorAll("a[href], summary, button")];
    kept = {
      target: target.id,
      place: links.indexOf(focused),
      href: focused && focused.getAttribute("href"),
      opened: [...target.querySelectorAll("details[open][id]")].map((details) => details.id),
      scrolled: [...target.querySelectorAll(".table-responsive")].map((table) => table.scrollLeft),
    };
  });

  document.addEventListener("htmx:afterSwap", function () {
    const target = kept && document.getElementById(kept.target);
    if (!target) return;
    for (const id of kept.opened) {
      const details = document.getElementById(id);
      if (details) details.open = true;
    }
    target.querySelectorAll(".table-responsive").forEach(function (table, index) {
      table.scrollLeft = kept.scrolled[index] || 0;
    });
    if (kept.place >= 0 && document.activeElement === document.body) {
      const links = [...target.querySelectorAll("a[href], summary, button")];
      const same = links.filter((link) => link.getAttribute("href") === kept.href);
      const link = same.includes(links[kept.place]) ? links[kept.place] : same[0];
      if (link) link.focus({ preventScroll: true });
    }
    // what a list holds now is said once, in one sentence
    const count = target.querySelector("[data-count]"), announcement = document.getElementById("announcement");
    if (count && announcement) announcement.textContent = count.textContent;
    kept = null;
  });

  document.addEventListener("htmx:afterRequest", function (event) {
    document.getElementById("stale").hidden = event.detail.successful;
  });

  // --- the chart ----------------------------------------------------------------------------------------

  let chart = null;

  function read() {
    return JSON.parse(document.getElementById("chart-data").textContent);
  }

  function columns(data) {
    // stacked: all that ended behind, what was successful before it
    const all = data.successful.map((count, index) => count + data.error[index]);
    return [data.hour.map((_, index) => index), all, data.successful];
  }

  function draw() {
    const target = document.getElementById("chart");
    if (!target || !target.clientWidth) return;
    if (chart) chart.destroy();
    const bars = uPlot.paths.bars({ size: [0.7, 40] });
    const series = (fill) => ({ paths: bars, points: { show: false }, fill: fill, width: 0 });
    chart = new uPlot({
      width: target.clientWidth,
      height: 220,
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] },
        y: { range: (_, low, high) => [0, Math.max(4, high * 1.1)] },
      },
      axes: fleetsealChart.axes({
        space: 56, incrs: [1, 2, 3, 4, 6, 12],
        values: (_, places) => places.map((place) => read().hour[place] || ""),
      }),
      series: [{}, series(fleetsealChart.color("--tblr-red")), series(fleetsealChart.color("--tblr-green"))],
    }, columns(read()), target);
  }

  draw();
  document.addEventListener("fleetseal:theme", draw);
  window.addEventListener("resize", draw);
  document.addEventListener("htmx:afterSettle", function () {
    if (!document.getElementById("chart-data")) return;
    if (chart && chart.root.isConnected) chart.setData(columns(read()));
    else draw();
  });
})();
