// Ticking devices in the list. Without this script the boxes and buttons work all the same.
(function () {
  "use strict";

  function tell(form) {
    const boxes = [...form.querySelectorAll("input[name=device]")];
    const ticked = boxes.filter((box) => box.checked).length;
    const all = form.querySelector("input[name=all]"), page = form.querySelector("[data-page]");
    if (!all || !page) return;
    page.checked = ticked === boxes.length;
    page.indeterminate = ticked > 0 && ticked < boxes.length;
    for (const box of [...boxes, page]) box.disabled = all.checked;
    const told = form.querySelector("[data-selected]");
    told.hidden = all.checked || ticked === 0;
    told.querySelector("[data-number]").textContent = ticked;
    for (const button of form.querySelectorAll("button[formaction]")) button.disabled = !all.checked && ticked === 0;
  }

  function tellAll() {
    document.querySelectorAll("form[data-selection]").forEach(tell);
  }

  document.addEventListener("change", function (event) {
    const form = event.target.closest("form[data-selection]");
    if (!form) return;
    if (event.target.matches("[data-page]")) {
      for (const box of form.querySelectorAll("input[name=device]")) box.checked = event.target.checked;
    }
    tell(form);
  });
  document.addEventListener("htmx:afterSwap", tellAll);
  // what the browser ticks again when somebody comes back counts too
  window.addEventListener("pageshow", tellAll);
})();
