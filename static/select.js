// Ticking rows of a list: all of the page at once, and how many are ticked. Without this, boxes are still boxes.

for (const form of document.querySelectorAll("form[data-select]")) {
  const boxes = [...form.querySelectorAll('tbody input[type="checkbox"]')].filter((box) => !box.disabled);
  const every = form.querySelector("[data-select-every]");
  const count = form.querySelector("[data-select-count]");
  const show = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    if (count) count.textContent = ticked ? `${ticked} ✓` : "";
    if (!every) return;
    every.checked = ticked > 0 && ticked === boxes.length;
    every.indeterminate = ticked > 0 && ticked < boxes.length;
  };
  every?.addEventListener("change", () => {
    for (const box of boxes) box.checked = every.checked;
    show();
  });
  form.addEventListener("change", show);
  every?.closest("label")?.removeAttribute("hidden");
  form.querySelector("[data-select-plain]")?.remove();
  show();
}
