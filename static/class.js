// The teacher's pages: who is there, how far a batch is, which machines are chosen. The answers come from states.js.

import { explain, write } from "./say.js";
import { t } from "./words.js";

const form = document.getElementById("class-form");
const batch = document.querySelector("[data-batch]");

document.addEventListener("states", ({ detail }) => {
  for (const [id, counts] of Object.entries(detail.classes ?? {})) {
    for (const element of document.querySelectorAll(`[data-class="${CSS.escape(id)}"] [data-count]`)) {
      write(element, String(counts[element.dataset.count]));
    }
  }
  if (detail.counts) write(document.querySelector("[data-counts]"), detail.counts);
  if (detail.people) {
    for (const element of document.querySelectorAll("[data-here]")) write(element, detail.people[element.dataset.here] ?? "");
    for (const element of document.querySelectorAll("[data-away]")) element.hidden = element.dataset.away in detail.people;
  }
  if (detail.batch && batch) showBatch(detail.batch);
  for (const [id, result] of Object.entries(detail.results ?? {})) {
    const cell = document.querySelector(`[data-result="${CSS.escape(id)}"]`);
    if (!cell) continue;
    cell.dataset.phase = result.phase;
    explain(cell, result.words, result.help);
  }
  // When all has ended, the page offers what can be done next.
  if (detail.results && !detail.batch.busy && document.querySelector("[data-until-ended]")) location.reload();
});

function showBatch(news) {
  batch.hidden = false;
  write(batch.querySelector("[data-batch-title]"), news.title);
  write(batch.querySelector("[data-batch-words]"), news.words);
  const bar = batch.querySelector("progress");
  bar.max = news.total;
  bar.value = news.ended;
  const link = batch.querySelector("[data-batch-link]");
  if (link) link.href = batch.dataset.address + news.id;
}

function boxes() {
  return [...form.querySelectorAll("input[name=vm]")];
}

function count() {
  const chosen = new Set(boxes().filter((box) => box.checked).map((box) => box.value)).size;
  write(form.querySelector("[data-chosen]"), t("%(count)d chosen:", { count: chosen }));
  for (const button of form.querySelectorAll("[name=act]")) button.disabled = chosen === 0;
}

if (form) {
  form.querySelector("[data-choose]").hidden = false;
  form.addEventListener("change", count);
  form.addEventListener("click", (event) => {
    const wanted = event.target.closest("[data-choose-state]")?.dataset.chooseState;
    if (wanted === undefined) return;
    for (const box of boxes()) box.checked = wanted === "*" || box.closest("[data-machine]").dataset.state === wanted;
    count();
  });
  count();
}
