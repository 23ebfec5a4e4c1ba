// The dialog for text: typed as keystrokes, or exchanged with the machine's clipboard.

import { copied } from "./clipboard.js";
import { t } from "../words.js";
import { LAYOUTS, type } from "./typing.js";

const REMEMBERED = "cyberlab.layout";
const byId = (id) => document.getElementById(id);

// page: { current(): the RFB or null, closed(): the dialog went away }.
export function textDialog(page) {
  const dialog = byId("text");
  const value = byId("text-value");
  const layout = byId("layout");
  const status = byId("text-status");
  const typeButton = byId("type");
  let typing = null;

  for (const [id, { name }] of Object.entries(LAYOUTS)) {
    layout.add(new Option(name(), id));
  }
  layout.value = localStorage.getItem(REMEMBERED) ?? "us";
  if (!layout.value) layout.value = "us";
  layout.addEventListener("change", () => localStorage.setItem(REMEMBERED, layout.value));

  typeButton.addEventListener("click", async () => {
    if (typing) {
      typing.abort();
      return;
    }
    const rfb = page.current();
    if (!rfb) {
      status.textContent = t("The console is not connected.");
      return;
    }
    typing = new AbortController();
    typeButton.textContent = t("Stop");
    try {
      const progress = (done, total) => { status.textContent = t("Typed %(done)d of %(total)d characters", { done, total }); };
      const unknown = await type(rfb, value.value, LAYOUTS[layout.value], progress, typing.signal);
      if (unknown) status.textContent += `. ${t("%(unknown)d of them are not on that keyboard and may be missing.", { unknown })}`;
    } finally {
      typing = null;
      typeButton.textContent = t("Type it");
    }
  });
  byId("paste").addEventListener("click", () => {
    const rfb = page.current();
    rfb?.clipboardPasteFrom(value.value);
    status.textContent = rfb ? t("Sent to the machine’s clipboard (it needs a guest agent to take it).") : t("The console is not connected.");
  });
  byId("copy-copied").addEventListener("click", async () => {
    if (!await copied(byId("copied-value").value)) byId("copied-value").select();
  });
  dialog.addEventListener("close", () => {
    typing?.abort();
    page.closed();
  });

  return {
    open() {
      status.textContent = "";
      dialog.showModal();
      value.focus();
    },
    copied(text) {
      byId("copied-value").value = text;
      byId("copied").hidden = false;
    },
  };
}
