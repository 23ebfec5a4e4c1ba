// The states of the machines on a page: asked for after the page has been drawn, again every ten seconds
// (two while something is being started), and not at all while the page is hidden.

import { t } from "./words.js";

const EVERY = 10_000; // milliseconds
const SOON = 2_000;
const source = document.querySelector("[data-states]");
const message = document.querySelector("[data-states-message]");
let timer = 0;
let asking = false;

function show(element, machine, stale) {
  element.dataset.state = machine.state;
  element.toggleAttribute("data-stale", stale);
  element.querySelector(".word").textContent = machine.word + (stale ? ` ${t("(a while ago)")}` : "");
  const card = element.closest("[data-machine]");
  for (const start of card?.querySelectorAll("[data-start]") ?? []) start.hidden = machine.state !== "stopped";
}

function say(text) {
  if (!message) return;
  message.hidden = !text;
  if (message.textContent !== text) message.textContent = text;
}

async function ask() {
  if (asking) return;
  asking = true;
  let wait = EVERY;
  clearTimeout(timer);
  try {
    const response = await fetch(source.dataset.states, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(30_000) });
    if (response.status === 401) { location.reload(); return; }
    if (!response.ok) throw new Error(String(response.status));
    const answer = await response.json();
    for (const element of document.querySelectorAll("[data-vm]")) {
      const machine = answer.machines[element.dataset.vm];
      if (!machine) continue;
      show(element, machine, machine.stale);
      if (machine.state === "checking") wait = SOON;
    }
    say(answer.message ?? "");
  } catch {
    say(t("The portal does not answer; the states below may be old. Trying again."));
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
  ask();
}
