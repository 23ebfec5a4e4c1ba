// Parts of a page that are fetched after it has been drawn (data-fill), or again every few seconds (data-refresh).
// The server draws them, so that there is one place for words; they come as a document of their own, in which no
// script runs, and the part of the same id is taken over.

import { leaving } from "./leaving.js";

const TIMEOUT = 40_000; // milliseconds

function fetchDocument(address) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", address);
    request.responseType = "document";
    request.timeout = TIMEOUT;
    request.onload = () => (request.status === 200 && request.responseXML ? resolve(request.responseXML) : reject(new Error(String(request.status))));
    request.onerror = request.ontimeout = () => reject(new Error());
    request.send();
  });
}

// Somebody is in the middle of something there.
function busy(part) {
  return part.querySelector("input:checked, details[open]") !== null || part.contains(document.activeElement?.closest("input, select") ?? null);
}

function take(part, answer) {
  const fresh = answer.getElementById(part.id);
  if (!fresh) throw new Error();
  const focused = part.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const taken = document.adoptNode(fresh);
  part.replaceWith(taken);
  if (focused) taken.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  return taken;
}

async function fill(part) {
  try {
    take(part, await fetchDocument(part.dataset.fill));
  } catch {
    if (!leaving()) part.textContent = part.dataset.failed ?? "";
  }
}

async function refresh(part) {
  const every = Number(part.dataset.refresh) * 1000;
  if (!every) return;
  await new Promise((resolve) => setTimeout(resolve, every));
  let next = part;
  if (!document.hidden && !busy(part)) {
    try {
      next = take(part, await fetchDocument(location.href));
    } catch {
      if (!leaving()) part.toggleAttribute("data-old", true);
    }
  }
  void refresh(next);
}

for (const part of document.querySelectorAll("[data-fill]")) void fill(part);
for (const part of document.querySelectorAll("[data-refresh]")) void refresh(part);
