// The console page: opens the portal's websocket, hands the picture to noVNC, and says what happens.

import RFB from "./vendor/novnc/core/rfb.js";
import { Backoff } from "./console/backoff.js";
import { Channel } from "./console/channel.js";
import { press } from "./console/keys.js";
import { textDialog } from "./console/text.js";

const byId = (id) => document.getElementById(id);
const body = document.body;
const { socket, status, name } = body.dataset;
const screen = byId("screen");
const backoff = new Backoff();
const WORDS = { opening: "opening", connected: "connected", lost: "connection lost", closed: "closed" };
const SIGNED_OUT = new Set(["signed-out", "login-expired"]);

let rfb = null;
let attempt = null; // { opened, end } of the connection that is being made or in use
let countdown = 0;
let leaving = false;

const dialog = textDialog({ current: () => rfb, closed: () => rfb?.focus({ preventScroll: true }) });

function phase(now) {
  body.dataset.phase = now;
  byId("phase").textContent = WORDS[now];
  document.title = (now === "connected" || now === "opening" ? "" : `(${WORDS[now]}) `) + `${name} · CyberLab`;
  byId("opening").hidden = now !== "opening";
  byId("lost").hidden = now !== "lost";
  byId("refused").hidden = now !== "closed";
  if (now === "connected") byId("last")?.remove();
  for (const button of document.querySelectorAll("[data-keys], #open-text")) button.disabled = now !== "connected";
}

function step(event) {
  const steps = byId("steps");
  const known = steps.querySelector(`[data-step="${CSS.escape(event.step)}"]`);
  const line = known ?? steps.appendChild(document.createElement("li"));
  for (const earlier of steps.children) earlier.className = earlier === line ? "now" : "done";
  line.dataset.step = event.step;
  line.textContent = event.text || event.step;
}

function connect() {
  clearInterval(countdown);
  phase("opening");
  step({ step: "connect", text: "connecting to the portal" });
  while (byId("steps").children.length > 1) byId("steps").lastChild.remove();
  const mine = { opened: false, end: null };
  attempt = mine;
  const channel = new Channel(socket, {
    opened() { mine.opened = true; },
    event(event) {
      if (event.event === "step") step(event);
      else if (event.event === "end") mine.end = event;
    },
    screen() { if (!mine.screen) { mine.screen = true; start(channel); } },
    closed(event) { if (attempt === mine) ended(mine, event); },
  });
}

function start(channel) {
  rfb = new RFB(screen, channel, { shared: true });
  rfb.background = "transparent";
  rfb.scaleViewport = byId("scale").getAttribute("aria-pressed") === "true";
  rfb.showDotCursor = true;
  rfb.addEventListener("connect", () => {
    backoff.connected();
    phase("connected");
    rfb.focus({ preventScroll: true });
  });
  rfb.addEventListener("clipboard", (event) => dialog.copied(event.detail.text));
}

// The connection is over: keep the last picture, find out why, and either come back or say so.
async function ended(mine, event) {
  keepPicture();
  rfb = null;
  if (leaving) return;
  const end = mine.end ?? (mine.opened ? null : await reason());
  if (attempt !== mine) return;
  if (end && end.retry === false) return refused(end);
  // The close code alone tells that the portal ended it on purpose, should its event have been lost.
  if (!end && event.code >= 4000 && event.reason !== "shutting-down") return refused({ title: "The console was closed", advice: event.reason });
  const wait = backoff.next();
  if (wait === null) {
    return refused({
      title: end?.title ?? "The connection is lost",
      advice: "It did not come back for some minutes. Check your network, then try again.",
      request_id: end?.request_id,
    });
  }
  lost(end, wait);
}

// Why the portal did not open the websocket: browsers do not tell a page the status of a refused upgrade.
async function reason() {
  try {
    const response = await fetch(`${status}?origin=${encodeURIComponent(location.origin)}`, { signal: AbortSignal.timeout(10_000) });
    if (response.ok) return null;
    const answer = await response.json();
    return { ...answer, code: response.status === 401 ? "signed-out" : "refused", retry: response.status >= 500 };
  } catch {
    return null;
  }
}

function keepPicture() {
  const picture = screen.querySelector("canvas");
  if (!picture || !picture.width) return;
  byId("last")?.remove();
  const last = document.createElement("canvas");
  last.id = "last";
  last.ariaHidden = "true";
  last.width = picture.width;
  last.height = picture.height;
  last.getContext("2d").drawImage(picture, 0, 0);
  screen.after(last);
}

function lost(end, wait) {
  const until = performance.now() + wait * 1000;
  byId("lost-title").textContent = end?.title ?? "Connection lost";
  byId("lost-advice").textContent = end?.advice ?? "";
  byId("lost-advice").hidden = !end?.advice;
  phase("lost");
  const tick = () => {
    const left = until - performance.now();
    if (left <= 0) return connect();
    byId("lost-when").textContent = `Again in ${Math.ceil(left / 1000)} s`;
  };
  tick();
  countdown = setInterval(tick, 250);
}

function refused({ code, title, advice, request_id: id }) {
  clearInterval(countdown);
  byId("refused-title").textContent = title ?? "The console is closed";
  byId("refused-advice").textContent = advice ?? "";
  byId("refused-id").hidden = !id;
  byId("refused-id").querySelector("code").textContent = id ?? "";
  const signIn = byId("sign-in");
  signIn.hidden = !SIGNED_OUT.has(code);
  signIn.href = `/auth/login?next=${encodeURIComponent(location.pathname)}`;
  byId("again").hidden = !signIn.hidden;
  phase("closed");
  (signIn.hidden ? byId("again") : signIn).focus();
}

for (const button of document.querySelectorAll("[data-keys]")) {
  button.addEventListener("click", () => {
    if (rfb) press(rfb, button.dataset.keys);
    button.closest("details")?.removeAttribute("open");
    rfb?.focus({ preventScroll: true });
  });
}
byId("open-text").addEventListener("click", () => dialog.open());
byId("scale").addEventListener("click", (event) => {
  const fit = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", String(fit));
  if (rfb) rfb.scaleViewport = fit;
  rfb?.focus({ preventScroll: true });
});
byId("fullscreen").addEventListener("click", async () => {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await document.documentElement.requestFullscreen().then(() => navigator.keyboard?.lock?.(), () => {});
  rfb?.focus({ preventScroll: true });
});
byId("now").addEventListener("click", connect);
byId("again").addEventListener("click", () => { backoff.restart(); connect(); });
byId("copy-id").addEventListener("click", async (event) => {
  await navigator.clipboard.writeText(byId("refused-id").querySelector("code").textContent).catch(() => {});
  event.target.textContent = "Copied";
});
window.addEventListener("online", () => { if (body.dataset.phase === "lost") connect(); });
window.addEventListener("pagehide", () => { leaving = true; });
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// The screen takes every key, Tab too: Ctrl+Alt+Shift is the way out of it by keyboard.
window.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey && event.altKey && event.shiftKey) || !screen.contains(document.activeElement)) return;
  if (!["Control", "Alt", "Shift"].includes(event.key)) return;
  event.stopPropagation();
  window.dispatchEvent(new Event("blur")); // noVNC then lets go of the keys that are down
  document.querySelector(".toolbar button:not(:disabled), .toolbar summary").focus();
}, { capture: true });
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.removeAttribute("open");
  }
});

connect();
