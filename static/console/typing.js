// Text as keystrokes, on the keyboard layout that the machine has. QEMU gets scan codes (its extended key
// event), so which character appears is decided in the machine; the keysym goes along for servers without it.

import { t } from "../words.js";
import keysyms from "../vendor/novnc/core/input/keysymdef.js";

const PAUSE = 12; // milliseconds between characters; a guest's keyboard queue is short
const SHIFT = [0xffe1, "ShiftLeft"];
const ALTGR = [0xfe03, "AltRight"];
const CODES = [
  "Backquote", ..."1234567890".split("").map((digit) => `Digit${digit}`), "Minus", "Equal",
  ..."QWERTYUIOP".split("").map((letter) => `Key${letter}`), "BracketLeft", "BracketRight", "Backslash",
  ..."ASDFGHJKL".split("").map((letter) => `Key${letter}`), "Semicolon", "Quote",
  ..."ZXCVBNM".split("").map((letter) => `Key${letter}`), "Comma", "Period", "Slash", "IntlBackslash",
];

// Each string lists what the keys of CODES give, in that order; `dead` keys need a space behind them.
export const LAYOUTS = {
  us: {
    name: () => t("English (US)"),
    plain: "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./",
    shift: "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\"ZXCVBNM<>?",
  },
  gb: {
    name: () => t("English (UK)"),
    plain: "`1234567890-=qwertyuiop[]#asdfghjkl;'zxcvbnm,./\\",
    shift: "¬!\"£$%^&*()_+QWERTYUIOP{}~ASDFGHJKL:@ZXCVBNM<>?|",
    altgr: { "€": "Digit4" },
  },
  de: {
    name: () => t("German"),
    plain: "^1234567890ß´qwertzuiopü+#asdfghjklöäyxcvbnm,.-<",
    shift: "°!\"§$%&/()=?`QWERTZUIOPÜ*'ASDFGHJKLÖÄYXCVBNM;:_>",
    altgr: {
      "@": "KeyQ", "€": "KeyE", "{": "Digit7", "[": "Digit8", "]": "Digit9", "}": "Digit0", "\\": "Minus",
      "~": "BracketRight", "|": "IntlBackslash", "µ": "KeyM", "²": "Digit2", "³": "Digit3",
    },
    dead: "^´`",
  },
  fr: {
    name: () => t("French"),
    plain: "²&é\"'(-è_çà)=azertyuiop\0$*qsdfghjklmùwxcvbn,;:!<",
    shift: "\u00001234567890°+AZERTYUIOP¨£µQSDFGHJKLM%WXCVBN?./§>",
    altgr: {
      "~": "Digit2", "#": "Digit3", "{": "Digit4", "[": "Digit5", "|": "Digit6", "`": "Digit7", "\\": "Digit8",
      "^": "Digit9", "@": "Digit0", "]": "Minus", "}": "Equal", "€": "KeyE",
    },
    dead: "~`¨",
  },
};

// What to press for one character: { code, modifier, dead }, or undefined when the layout does not have it.
export function strokes(layout) {
  const found = new Map([[" ", { code: "Space" }]]);
  const add = (characters, modifier) => [...characters].forEach((character, index) => {
    if (character !== "\0" && !found.has(character)) found.set(character, { code: CODES[index], modifier });
  });
  add(layout.plain, undefined);
  add(layout.shift, SHIFT);
  for (const [character, code] of Object.entries(layout.altgr ?? {})) found.set(character, { code, modifier: ALTGR });
  for (const character of layout.dead ?? "") found.get(character).dead = true;
  return found;
}

// Type the text; progress(done, total) after every character; signal: an AbortSignal. Returns how many
// characters the layout does not have (they were sent by keysym, which not every machine understands).
export async function type(rfb, text, layout, progress, signal) {
  const table = strokes(layout);
  const characters = [...text.replace(/\r\n?/g, "\n")];
  let unknown = 0;
  for (const [index, character] of characters.entries()) {
    if (signal.aborted) break;
    if (character === "\n") rfb.sendKey(0xff0d, "Enter");
    else if (character === "\t") rfb.sendKey(0xff09, "Tab");
    else {
      const stroke = table.get(character);
      if (!stroke) unknown += 1;
      strike(rfb, keysyms.lookup(character.codePointAt(0)), stroke ?? {});
    }
    progress(index + 1, characters.length);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  return unknown;
}

function strike(rfb, keysym, { code, modifier, dead }) {
  if (modifier) rfb.sendKey(...modifier, true);
  rfb.sendKey(keysym, code);
  if (modifier) rfb.sendKey(...modifier, false);
  if (dead) rfb.sendKey(0x20, "Space");
}
