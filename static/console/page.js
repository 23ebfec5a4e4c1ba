// What every console page does, whatever it shows: opens the portal's websocket, says what happens, comes back after
// a lost connection, and keeps a way out of the screen by keyboard.

import { Backoff } from "./backoff.js";
import { Channel } from "./channel.js";
import { copied } from "./clipboard.js";
import { SIGNED_OUT, reason } from "./reason.js";
import { stayed } from "../leaving.js";
import { t } from "../words.js";

const byId = (id) => document.getElementById(id);
const body = document.body;
const { socket, status, name } = body.dataset;
const screen = byId("screen");
const backoff = new Backoff();
const WORDS = { opening: t("opening"), connected: t("connected"), lost: t("connection lost"), closed: t("closed") };

let viewer = null;
let attempt = null; // { opened, begun, end } of the connection that is being made or in use
let countdown = 0;

// shown: { begin(channel): the console may be used, ended(): the connection is gone, focus(), release(): let go of
// keys that are down }. Returns { connected() }, to be called when there is something to see.
export function openPage(shown) {
  viewer = shown;
  listen();
  connect();
  return { connected };
}

function connected() {
  backoff.connected();
  phase("connected");
  viewer.focus();
}

function phase(now) {
  body.dataset.phase = now;
  byId("phase").textContent = WORDS[now];
  document.title = (now === "connected" || now === "opening" ? "" : `(${WORDS[now]}) `) + `${name} · CyberLab`;
  byId("opening").hidden = now !== "opening";
  byId("lost").hidden = now !== "lost";
  byId("refused").hidden = now !== "closed";
  for (const button of document.querySelectorAll("[data-keys], [data-live]")) button.disabled = now !== "connected";
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
  step({ step: "connect", text: t("connecting to the portal") });
  while (byId("steps").children.length > 1) byId("steps").lastChild.remove();
  const mine = { opened: false, begun: false, end: null };
  attempt = mine;
  const begin = () => {
    if (mine.begun) return;
    mine.begun = true;
    viewer.begin(channel);
  };
  const channel = new Channel(socket, {
    opened() { mine.opened = true; },
    event(event) {
      if (event.event === "step") step(event);
      else if (event.event === "ready") begin();
      else if (event.event === "end") mine.end = { ...event, help: `/help/${event.code}` };
    },
    screen: begin,
    closed(event) { if (attempt === mine) ended(mine, event); },
  });
}

// The connection is over: keep what was seen last, find out why, and either come back or say so.
async function ended(mine, event) {
  viewer.ended();
  await stayed();
  if (attempt !== mine) return;
  const end = mine.end ?? (mine.opened ? null : await reason(status));
  if (attempt !== mine) return;
  if (end && end.retry === false) return refused(end);
  // The close code alone tells that the portal ended it on purpose, should its event have been lost.
  if (!end && event.code >= 4000 && event.reason !== "shutting-down") return refused({ title: t("The console was closed"), advice: event.reason });
  const wait = backoff.next();
  if (wait === null) {
    return refused({
      title: end?.title ?? t("The connection is lost"),
      advice: t("It did not come back for some minutes. Check your network, then try again."),
      request_id: end?.request_id,
    });
  }
  lost(end, wait);
}

function lost(end, wait) {
  const until = performance.now() + wait * 1000;
  byId("lost-title").textContent = end?.title ?? t("Connection lost");
  byId("lost-advice").textContent = end?.advice ?? "";
  byId("lost-advice").hidden = !end?.advice;
  help(end?.help);
  phase("lost");
  const tick = () => {
    const left = until - performance.now();
    if (left <= 0) return connect();
    byId("lost-when").textContent = t("Again in %(seconds)d s", { seconds: Math.ceil(left / 1000) });
  };
  tick();
  countdown = setInterval(tick, 250);
}

// Where to read on about what happened: the portal's own page, for who is still signed in.
function help(address) {
  for (const link of document.querySelectorAll("[data-help]")) {
    link.parentElement.hidden = !address;
    if (address) link.href = address;
  }
}

function refused({ code, title, advice, request_id: id, help: address }) {
  clearInterval(countdown);
  byId("refused-title").textContent = title ?? t("The console is closed");
  byId("refused-advice").textContent = advice ?? "";
  byId("refused-id").hidden = !id;
  byId("refused-id").querySelector("code").textContent = id ?? "";
  help(SIGNED_OUT.has(code) ? "" : address);
  const signIn = byId("sign-in");
  signIn.hidden = !SIGNED_OUT.has(code);
  signIn.href = `/auth/login?next=${encodeURIComponent(location.pathname)}`;
  byId("again").hidden = !signIn.hidden;
  phase("closed");
  (signIn.hidden ? byId("again") : signIn).focus();
}

function listen() {
  byId("fullscreen").hidden = !document.fullscreenEnabled; // no iPhone has it
  byId("fullscreen").addEventListener("click", async () => {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen().then(() => navigator.keyboard?.lock?.(), () => {});
    viewer.focus();
  });
  byId("now").addEventListener("click", connect);
  byId("again").addEventListener("click", () => { backoff.restart(); connect(); });
  byId("copy-id").addEventListener("click", async (event) => {
    const code = byId("refused-id").querySelector("code");
    const button = event.target;
    if (await copied(code.textContent)) button.textContent = t("Copied");
    else getSelection().selectAllChildren(code);
  });
  window.addEventListener("online", () => { if (body.dataset.phase === "lost") connect(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // The screen takes every key, Tab too: Ctrl+Alt+Shift is the way out of it by keyboard.
  window.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey && event.altKey && event.shiftKey) || !screen.contains(document.activeElement)) return;
    if (!["Control", "Alt", "Shift"].includes(event.key)) return;
    event.stopPropagation();
    viewer.release();
    const there = document.querySelectorAll(".toolbar button:not(:disabled), .toolbar summary");
    [...there].find((element) => element.checkVisibility()).focus();
  }, { capture: true });
  // Not "click": noVNC takes the mouse between down and up, after which Firefox has no click for the page.
  document.addEventListener("pointerdown", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.removeAttribute("open");
    }
  }, { capture: true });
}
