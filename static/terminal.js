// The console page of a machine without a screen: a terminal, drawn by xterm.js.

import { Terminal } from "./vendor/xterm/xterm.mjs";
import { FitAddon } from "./vendor/xterm-fit/addon-fit.mjs";
import { copied } from "./console/clipboard.js";
import { openPage } from "./console/page.js";
import "./console/styles.js";
import { Keyboard } from "./console/termproxy.js";
import { t } from "./words.js";

const byId = (id) => document.getElementById(id);
const SIZE = "cyberlab.terminal.size";
const SMALLEST = 9, LARGEST = 28; // pixels
const KEYS = { esc: "\x1b", tab: "\t", "ctrl c": "\x03", "ctrl d": "\x04", "ctrl z": "\x1a", "ctrl l": "\x0c" };
const ARROWS = { up: "A", down: "B", right: "C", left: "D" };

const box = byId("terminal");
const dialog = byId("text");

let keyboard = null;

const terminal = new Terminal({
  fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace',
  fontSize: remembered(),
  cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
  scrollback: 5000,
  disableStdin: "watch" in document.body.dataset,
  minimumContrastRatio: 4.5,
  linkHandler: { activate() {} }, // where a machine's links lead is the machine's word
  theme: { background: "#0b0d12", foreground: "#e3e7f1", cursor: "#a3b3ff", selectionBackground: "#39425a" },
});
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.open(box);
terminal.textarea.setAttribute("aria-label", box.dataset.label);

const page = openPage({
  begin(channel) {
    keyboard = new Keyboard(channel);
    channel.onmessage = (event) => terminal.write(new Uint8Array(event.data));
    refit();
    resize();
    page.connected();
  },
  ended() {
    keyboard?.close();
    keyboard = null;
  },
  focus() { terminal.focus(); },
  release() {},
});

function type(text) {
  if (!keyboard) say(t("The console is not connected."));
  else if (!keyboard.type(text)) say(tooMuch());
}

const tooMuch = () => t("That is too much text at once; put it into the machine in parts.");

let silence = 0;
function say(text) {
  byId("notice").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { byId("notice").textContent = ""; }, 5000);
}

// --- size

function remembered() {
  const size = Number(localStorage.getItem(SIZE));
  if (size >= SMALLEST && size <= LARGEST) return size;
  return matchMedia("(max-width: 40rem)").matches ? 13 : 15;
}

function refit() {
  const size = fit.proposeDimensions();
  if (size && Number.isFinite(size.cols) && Number.isFinite(size.rows)) fit.fit();
}

function resize() { keyboard?.resize(terminal.cols, terminal.rows); }

let frame = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(refit);
}).observe(box);
terminal.onResize(resize);
// All who look at a machine share its one terminal: it has the size of whoever came last.
terminal.textarea.addEventListener("focus", resize);
for (const button of document.querySelectorAll("[data-size]")) {
  button.addEventListener("click", () => {
    const size = Math.max(SMALLEST, Math.min(LARGEST, terminal.options.fontSize + Number(button.dataset.size)));
    localStorage.setItem(SIZE, size);
    terminal.options.fontSize = size;
    refit();
  });
}

// --- keys

terminal.onData(type);
terminal.onBinary((text) => keyboard?.bytes(text));
terminal.attachCustomKeyEventHandler((event) => {
  // As in other terminals; the browser does the pasting.
  if (event.ctrlKey && event.shiftKey && event.code === "KeyV") return false;
  if (event.ctrlKey && event.shiftKey && event.code === "KeyC") {
    if (event.type === "keydown") copy();
    event.preventDefault();
    return false;
  }
  return true;
});
for (const button of document.querySelectorAll("[data-keys]")) {
  button.addEventListener("click", () => {
    const name = button.dataset.keys;
    const arrow = terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[";
    type(KEYS[name] ?? arrow + ARROWS[name]);
    terminal.focus();
  });
}

// --- texts in and out

async function copy() {
  const text = terminal.getSelection();
  if (!text) return say(t("Select text in the terminal first."));
  say(await copied(text) ? t("Copied.") : t("The browser did not allow copying."));
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    await copy();
    button.closest("details")?.removeAttribute("open");
    terminal.focus();
  });
}
byId("open-text").addEventListener("click", () => {
  byId("text-status").textContent = "";
  dialog.showModal();
  byId("text-value").focus();
});
byId("type").addEventListener("click", () => {
  if (!keyboard) byId("text-status").textContent = t("The console is not connected.");
  else if (new Blob([byId("text-value").value]).size > 200 * 1024) byId("text-status").textContent = tooMuch();
  else {
    terminal.paste(byId("text-value").value);
    dialog.close();
  }
});
dialog.addEventListener("close", () => terminal.focus());
