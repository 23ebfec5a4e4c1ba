// Key combinations that the browser or the system would keep for itself. [keysym, code], see X11's keysymdef.h.

const KEYS = {
  ctrl: [0xffe3, "ControlLeft"],
  alt: [0xffe9, "AltLeft"],
  win: [0xffeb, "MetaLeft"],
  del: [0xffff, "Delete"],
  tab: [0xff09, "Tab"],
  esc: [0xff1b, "Escape"],
  f1: [0xffbe, "F1"],
  f2: [0xffbf, "F2"],
  f3: [0xffc0, "F3"],
  f4: [0xffc1, "F4"],
};

// Press the keys in order, release them in reverse; combination: names separated by spaces.
export function press(rfb, combination) {
  const keys = combination.split(" ").map((name) => KEYS[name]);
  for (const [keysym, code] of keys) rfb.sendKey(keysym, code, true);
  for (const [keysym, code] of keys.reverse()) rfb.sendKey(keysym, code, false);
}
