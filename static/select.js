// Lists in which rows are ticked and something is done with all of them; without this script the buttons work as well.

for (const form of document.querySelectorAll("form[data-select]")) {
  const all = form.querySelector("[data-select-all]");
  const boxes = [...form.querySelectorAll("tbody input[type=checkbox]")];
  const count = form.querySelector("[data-select-count]");
  const words = count?.textContent ?? "";

  const show = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    for (const button of form.querySelectorAll("[data-select-needs]")) button.disabled = ticked === 0;
    if (count) count.textContent = ticked ? `${words} ${ticked}` : (count.dataset.none ?? words);
    if (all) {
      all.checked = ticked === boxes.length;
      all.indeterminate = ticked > 0 && ticked < boxes.length;
    }
  };

  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of boxes) box.checked = all.checked;
      show();
    });
  }
  form.addEventListener("change", show);
  addEventListener("pageshow", show); // a page that the browser had kept, with its ticks
  show();
}
