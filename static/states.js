// The states of the machines on a page: asked for after the page has been drawn, again every ten seconds
// (two while something is being done), and not at all while the page is hidden.

import { leaving } from "./leaving.js";
import { explain, say, write } from "./say.js";
import { t } from "./words.js";

const EVERY = 10_000; // milliseconds
const SOON = 2_000;
const source = document.querySelector("[data-states]");
const message = document.querySelector("[data-states-message]");
let timer = 0;
let asking = false;

function show(element, machine) {
  element.dataset.state = machine.state;
  element.toggleAttribute("data-stale", machine.stale);
  write(element.querySelector(".word"), machine.word);
  const card = element.closest("[data-machine]");
  if (!card) return;
  card.dataset.state = machine.state;
  for (const part of card.querySelectorAll("[data-when]")) part.hidden = machine.state !== part.dataset.when;
  for (const bar of card.querySelectorAll("[data-busy]")) bar.hidden = !machine.busy;
  for (const problem of card.querySelectorAll("[data-problem]")) explain(problem, machine.problem ?? "", machine.help);
}

// What the page shows is no longer what there is. Not while somebody is about to choose.
function renew(version) {
  if (version === undefined || source.dataset.version === undefined || version === source.dataset.version) return;
  if (!document.querySelector("details[open], dialog[open], input:checked")) location.reload();
}

async function ask() {
  if (asking) return;
  asking = true;
  let wait = EVERY;
  clearTimeout(timer);
  try {
    const response = await fetch(source.dataset.states, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(30_000) });
    if (response.status === 401 || response.status === 403) { location.reload(); return; }
    if (!response.ok) throw new Error(String(response.status));
    const answer = await response.json();
    for (const element of document.querySelectorAll("[data-vm]")) {
      const machine = answer.machines[element.dataset.vm];
      if (!machine) continue;
      show(element, machine);
      if (machine.busy) wait = SOON;
    }
    say(message, answer.message);
    document.dispatchEvent(new CustomEvent("states", { detail: answer }));
    if (answer.soon) wait = SOON;
    renew(answer.version);
  } catch {
    if (!leaving()) say(message, t("The portal does not answer; the states below may be old. Trying again."));
  } finally {
    asking = false;
    if (!document.hidden) timer = setTimeout(ask, wait);
  }
}

if (source) {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) ask();
  });
  // Back in the browser may bring the page as it was left, an hour ago, maybe before signing out.
  window.addEventListener("pageshow", (event) => { if (event.persisted) ask(); });
  document.addEventListener("pointerdown", (event) => {
    for (const menu of document.querySelectorAll("details.more[open]")) {
      if (!menu.contains(event.target)) menu.removeAttribute("open");
    }
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.querySelector("details.more[open]");
    if (!menu) return;
    menu.removeAttribute("open");
    menu.querySelector("summary").focus();
  });
  ask();
}
