// Charts of the load: the requests of each minute or day, and the server's allowance as a line across them.
(function () {
  "use strict";

  const chart = window.fleetsealChart, drawn = new Map();

  // places on the axis carry the clock of the data's time zone, whatever the browser's is
  function clock(zone, options) {
    const format = new Intl.DateTimeFormat(document.documentElement.lang, { timeZone: zone, ...options });
    return (seconds) => format.format(new Date(1000 * seconds));
  }

  function overTime(data) {
    const hour = clock(data.zone, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
    const number = clock(data.zone, { day: "numeric" }), month = clock(data.zone, { month: "short" });
    const day = (seconds) => number(seconds) + " " + month(seconds);
    return {
      x: data.values.map((_, index) => data.begin + index * data.step),
      scale: { time: true },
      tzDate: (seconds) => uPlot.tzDate(new Date(1000 * seconds), data.zone),
      axis: {
        space: 64,
        values: (_, places) => places.map((place) => (hour(place) === "00:00" ? day(place) : hour(place))),
      },
      paths: uPlot.paths.stepped({ align: 1 }),
      width: 1,
    };
  }

  function overDays(data) {
    return {
      x: data.values.map((_, index) => index),
      scale: { time: false, range: (_, low, high) => [low - 0.5, high + 0.5] },
      axis: {
        space: 72, incrs: [1, 2, 7, 14, 28],
        values: (_, places) => places.map((place) => data.labels[place] || ""),
      },
      paths: uPlot.paths.bars({ size: [0.7, 40] }),
      width: 0,
    };
  }

  function draw(target) {
    if (!target.clientWidth) return;
    const data = JSON.parse(document.getElementById(target.dataset.load).textContent);
    const form = data.labels ? overDays(data) : overTime(data);
    const fill = chart.color("--tblr-blue"), limit = chart.color("--tblr-red");
    if (drawn.has(target)) drawn.get(target).destroy();
    drawn.set(target, new uPlot({
      width: target.clientWidth,
      height: 180,
      cursor: { show: false },
      legend: { show: false },
      tzDate: form.tzDate,
      scales: {
        x: form.scale,
        y: { range: (_, low, high) => [0, Math.max(4, high * 1.1)] },
      },
      axes: chart.axes(form.axis),
      series: [
        {},
        { paths: form.paths, points: { show: false }, fill: fill, stroke: fill, width: form.width },
        { points: { show: false }, stroke: limit, width: 1.5, dash: [6, 4] },
      ],
    }, [form.x, data.values, form.x.map(() => data.allowance)], target));
  }

  function drawAll() {
    document.querySelectorAll("[data-load]").forEach(draw);
  }

  drawAll();
  document.addEventListener("fleetseal:theme", drawAll);
  window.addEventListener("resize", drawAll);
})();
