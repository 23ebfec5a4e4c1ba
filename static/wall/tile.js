// One screen of the wall: looked at, never typed into (the portal drops what would come through all the same), small,
// and in no hurry.

import RFB from "../vendor/novnc/core/rfb.js";
import { Backoff } from "../console/backoff.js";
import { Channel } from "../console/channel.js";
import { SIGNED_OUT, reason } from "../console/reason.js";
import { stayed } from "../leaving.js";
import { SMALL, still } from "../pictures.js";
import { t } from "../words.js";

const PAUSE = 1000; // milliseconds from one change of the picture to the next: sixteen films would be too much for anybody
const GRACE = 5_000; // milliseconds out of sight: who scrolls by or looks at another window mostly comes back
const LATER = 60; // seconds until it is tried again where trying soon cannot help
const PATIENCE = 90_000; // milliseconds to open, the longest wait in the node's line included
const FINAL = new Set(["disconnected"]); // an admin's word

export class Tile {
  inSight = false;
  #changed;
  #state = "checking";
  #backoff = new Backoff();
  #attempt = null; // { opened, begun, end } of the connection that is made, in use, or being explained
  #channel = null;
  #rfb = null;
  #patience = 0;
  #grace = 0;
  #again = 0;
  #over = false;

  // element: the tile; changed: called when it needs another look, or leaves room for others.
  constructor(element, changed) {
    this.element = element;
    this.#changed = changed;
    this.look(); // the states may have come before this script
  }

  get wanted() { return this.inSight && !document.hidden && this.#state === "running"; }
  get ready() { return !this.#attempt && !this.#again && !this.#over; }
  get open() { return this.#channel !== null; }
  get opening() { return this.open && this.element.dataset.phase === "opening"; }

  say(text) {
    const said = this.element.querySelector("[data-said]");
    if (said.textContent !== text) said.textContent = text;
  }

  // The machine's state, as states.js has written it down.
  look() {
    const before = this.#state;
    this.#state = this.element.dataset.state;
    if (this.#state === before) return;
    if (this.#state === "running") {
      clearTimeout(this.#again);
      this.#again = 0;
      this.#backoff.restart();
    } else if (!this.open) this.#rest();
    if (["stopped", "gone"].includes(this.#state)) this.element.querySelector(".last")?.remove();
  }

  stay() {
    clearTimeout(this.#grace);
    this.#grace = 0;
  }

  leave() {
    if (this.open && !this.#grace) this.#grace = setTimeout(() => { this.close(); this.#changed(); }, GRACE);
  }

  close() {
    const [rfb, channel] = [this.#rfb, this.#channel];
    this.#attempt = null; // whatever it says from now on comes too late
    this.#gone();
    this.#rest();
    if (rfb) rfb.disconnect();
    else channel.close();
  }

  connect() {
    const mine = { opened: false, begun: false, end: null };
    this.#attempt = mine;
    this.#phase("opening");
    this.say(t("opening"));
    const begin = () => {
      if (mine.begun || this.#attempt !== mine) return;
      mine.begun = true;
      this.#show(channel);
    };
    const channel = new Channel(this.element.dataset.socket, {
      opened() { mine.opened = true; },
      event: (event) => {
        if (this.#attempt !== mine) return;
        if (event.event === "step") this.say(event.text || event.step);
        else if (event.event === "ready") begin();
        else if (event.event === "end") mine.end = event;
      },
      screen: begin,
      closed: (event) => { if (this.#attempt === mine) this.#ended(mine, event); },
    });
    this.#channel = calm(channel);
    this.#patience = setTimeout(() => channel.close(), PATIENCE);
  }

  #show(channel) {
    const rfb = new RFB(this.element.querySelector("[data-screen]"), channel, { shared: true });
    rfb.background = "transparent";
    rfb.viewOnly = true;
    rfb.focusOnClick = false;
    rfb.scaleViewport = true;
    rfb.qualityLevel = 0;
    rfb.compressionLevel = 6; // more than noVNC's 2; what follows costs the node much and saves little
    rfb.addEventListener("connect", () => {
      clearTimeout(this.#patience);
      this.element.querySelector(".last")?.remove();
      this.#backoff.connected();
      this.#phase("live");
      this.say("");
      this.#changed();
    });
    this.#rfb = rfb;
  }

  // The connection is over: say why, and when it makes sense to try again do so.
  async #ended(mine, event) {
    this.#gone();
    await stayed();
    if (this.#attempt !== mine) return;
    const end = mine.end ?? (mine.opened ? null : await reason(this.element.dataset.status));
    if (this.#attempt !== mine) return;
    this.#attempt = null;
    if (SIGNED_OUT.has(end?.code)) {
      location.reload();
      return;
    }
    this.#over = FINAL.has(end?.code);
    const cause = end ? [end.title, end.advice].filter(Boolean).map((text) => text.replace(/\.?$/, ".")).join(" ") : t("Connection lost.");
    // The close code alone tells that the portal ended it on purpose, should its event have been lost.
    const soon = end ? end.retry !== false : event.code < 4000 || event.reason === "shutting-down";
    if (!this.#over) {
      const wait = (soon && this.#backoff.next()) || LATER;
      this.#again = setTimeout(() => { this.#again = 0; this.#changed(); }, wait * 1000);
    }
    if (this.#state === "running") this.say(this.#over ? cause : t("%(cause)s It is tried again by itself.", { cause }));
    else this.#rest();
    this.#changed();
  }

  #gone() {
    clearTimeout(this.#patience);
    this.stay();
    if (this.#rfb) this.#keepPicture();
    this.#rfb = null;
    this.#channel = null;
    this.#phase("closed");
  }

  #rest() {
    const off = !["running", "checking"].includes(this.#state);
    this.say(off ? t("The screen appears here when the machine runs.") : "");
  }

  #phase(now) { this.element.dataset.phase = now; }

  #keepPicture() {
    const screen = this.element.querySelector("[data-screen]");
    const last = still(screen, SMALL);
    if (!last) return;
    this.element.querySelector(".last")?.remove();
    last.className = "last";
    screen.after(last);
  }
}

// Have the channel hold back noVNC's wish for the next change (RFC 6143, 7.5.3), which it has after each one at once.
function calm(channel) {
  const send = channel.send.bind(channel);
  let last = -PAUSE;
  let timer = 0;
  channel.send = (data) => {
    if (data.length !== 10 || data[0] !== 3 || data[1] !== 1) {
      send(data);
      return;
    }
    const wish = data.slice(); // the buffer is noVNC's own
    clearTimeout(timer);
    timer = setTimeout(() => {
      last = performance.now();
      send(wish);
    }, Math.max(0, last + PAUSE - performance.now()));
  };
  return channel;
}
