// A class's screens at once: only those that somebody can see, never more than the server has said, a few opened at a
// time. The states of the machines come from states.js; one screen is static/wall/tile.js.

import { leaving } from "./leaving.js";
import { t } from "./words.js";
import { Tile } from "./wall/tile.js";

const OPENING = 2; // at once: users take turns at a node, so that whoever comes then waits for at most these of ours
const VISIBLE = 0.25; // of a tile

const wall = document.querySelector("[data-wall]");
const most = Number(wall?.dataset.wall);
const tiles = [...(wall?.querySelectorAll("[data-socket]") ?? [])].map((element) => new Tile(element, arrange));
const open = () => tiles.filter((tile) => tile.open);

function arrange() {
  if (leaving()) return;
  for (const tile of tiles) {
    if (tile.wanted) tile.stay();
    else tile.leave();
  }
  for (const tile of tiles.filter((each) => each.wanted && each.ready)) {
    if (open().length >= most) open().find((other) => !other.wanted)?.close();
    if (open().length >= most) tile.say(t("At most %(most)d screens are shown at once.", { most }));
    else if (tiles.filter((other) => other.opening).length >= OPENING) tile.say(t("Waiting for its turn…"));
    else tile.connect();
  }
}

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) tiles.find((tile) => tile.element === target).inSight = isIntersecting;
  arrange();
}, { threshold: VISIBLE });
for (const tile of tiles) observer.observe(tile.element);

document.addEventListener("states", () => {
  for (const tile of tiles) tile.look();
  arrange();
});
document.addEventListener("visibilitychange", arrange);
window.addEventListener("pagehide", () => {
  for (const tile of open()) tile.close();
});
window.addEventListener("pageshow", arrange);
