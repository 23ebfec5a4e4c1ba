// The last picture on a machine's card, until the machine is switched off or something is done with it.

import { forget, forgetOthers, kept } from "./pictures.js";
import { write } from "./say.js";
import { t } from "./words.js";

const list = document.querySelector("[data-user]");
const ago = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto" });

function when(at) {
  const minutes = Math.round((at - Date.now()) / 60_000);
  return minutes > -60 ? ago.format(minutes, "minute") : ago.format(Math.round(minutes / 60), "hour");
}

function show(card, key, vm) {
  card.querySelector("figure")?.remove();
  const picture = kept(key);
  if (!picture) return;
  const figure = document.createElement("figure");
  figure.dataset.when = "running"; // states.js shows it then
  figure.hidden = card.dataset.state !== "running";
  const link = document.createElement("a"); // a second way to open it, for the mouse
  link.href = `/student/console/${vm}`;
  link.tabIndex = -1;
  link.ariaHidden = "true";
  const image = link.appendChild(document.createElement("img"));
  image.alt = "";
  image.src = picture.image;
  const caption = document.createElement("figcaption");
  caption.dataset.at = picture.at;
  figure.append(link, caption);
  card.prepend(figure);
  date(caption);
}

function date(caption) {
  write(caption, t("Your last look: %(when)s", { when: when(Number(caption.dataset.at)) }));
}

function each(act) {
  for (const state of list.querySelectorAll("[data-vm]")) {
    act(state.closest("[data-machine]"), `${list.dataset.user}/${state.dataset.vm}`, state.dataset.vm);
  }
}

if (list) {
  forgetOthers(list.dataset.user);
  each(show);
  window.addEventListener("pageshow", (event) => { if (event.persisted) each(show); });
  document.addEventListener("states", ({ detail }) => {
    each((card, key, vm) => {
      const machine = detail.machines[vm];
      if (machine?.busy || ["stopped", "gone"].includes(machine?.state)) {
        forget(key);
        card.querySelector("figure")?.remove();
      }
    });
    for (const caption of list.querySelectorAll("figcaption")) date(caption);
  });
}
