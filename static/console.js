// The console page of a machine with a screen: the picture is noVNC's.

import RFB from "./vendor/novnc/core/rfb.js";
import { press } from "./console/keys.js";
import { openPage } from "./console/page.js";
import { textDialog } from "./console/text.js";
import { SMALL, keep, still } from "./pictures.js";

const byId = (id) => document.getElementById(id);
const screen = byId("screen");

let rfb = null;

const focus = () => rfb?.focus({ preventScroll: true });
const dialog = textDialog({ current: () => rfb, closed: focus });
const page = openPage({
  begin(channel) {
    rfb = new RFB(screen, channel, { shared: true });
    rfb.background = "transparent";
    rfb.scaleViewport = byId("scale").getAttribute("aria-pressed") === "true";
    rfb.showDotCursor = true;
    rfb.viewOnly = "watch" in document.body.dataset; // the portal drops what would come through all the same
    rfb.addEventListener("connect", () => {
      byId("last")?.remove();
      page.connected();
    });
    rfb.addEventListener("clipboard", (event) => dialog.copied(event.detail.text));
  },
  ended() {
    keepPicture();
    keepSmall();
    rfb = null;
  },
  focus,
  release() { window.dispatchEvent(new Event("blur")); }, // noVNC then lets go of the keys that are down
});

function keepPicture() {
  const last = still(screen);
  if (!last) return;
  byId("last")?.remove();
  last.id = "last";
  screen.after(last);
}

// For the machine's card, where it has one; before it is connected there is nothing worth it.
function keepSmall() {
  const { phase, picture } = document.body.dataset;
  const small = phase === "connected" && picture ? still(screen, SMALL) : null;
  if (small) keep(picture, small);
}
window.addEventListener("pagehide", keepSmall);

for (const button of document.querySelectorAll("[data-keys]")) {
  button.addEventListener("click", () => {
    if (rfb) press(rfb, button.dataset.keys);
    button.closest("details")?.removeAttribute("open");
    focus();
  });
}
byId("open-text").addEventListener("click", () => dialog.open());
byId("scale").addEventListener("click", (event) => {
  const fit = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", String(fit));
  if (rfb) rfb.scaleViewport = fit;
  focus();
});
