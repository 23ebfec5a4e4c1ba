// Texts that change on a page: only what has changed is written, so that nothing is read aloud twice.

import { t } from "./words.js";

export function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

// A part that is there only while there is something to say.
export function say(element, text) {
  if (!element) return;
  write(element, text ?? "");
  element.hidden = !text;
}

// What went wrong, with a link to what can be done about it; help: its address, or null.
export function explain(element, text, help) {
  if (element.dataset.said === text) return;
  element.dataset.said = text;
  say(element, text);
  if (!help) return;
  const link = document.createElement("a");
  link.href = help;
  link.textContent = t("More about this");
  element.append(" ", link);
}
