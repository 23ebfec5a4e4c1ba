// The console page of a machine with a screen: the picture is noVNC's.

import RFB from "./vendor/novnc/core/rfb.js";
import { press } from "./console/keys.js";
import { openPage } from "./console/page.js";
import { textDialog } from "./console/text.js";
import { keep } from "./pictures.js";

const byId = (id) => document.getElementById(id);
const screen = byId("screen");

let rfb = null;
let seen = false;

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
      seen = true;
      page.connected();
    });
    rfb.addEventListener("clipboard", (event) => dialog.copied(event.detail.text));
  },
  ended() {
    keepPicture();
    keepSmall();
    rfb = null;
    seen = false;
  },
  focus,
  release() { window.dispatchEvent(new Event("blur")); }, // noVNC then lets go of the keys that are down
});

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

// For the machine's card; whoever only watches has none.
function keepSmall() {
  const picture = screen.querySelector("canvas");
  if (seen && picture?.width && document.body.dataset.picture) keep(document.body.dataset.picture, picture);
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
