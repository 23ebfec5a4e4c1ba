// The last picture of a machine, as its console was left. For its card: small, in this tab alone, and gone with it or
// with signing out, as the next one to sit down here must not see it. Keys: "USER/VM", both the portal's ids.

const PREFIX = "picture ";

export const SMALL = 400; // pixels, the width of a picture that is one of many

// What a screen shows now, as a canvas of that width; null while it shows nothing.
export function still(screen, width = undefined) {
  const shown = screen.querySelector("canvas");
  if (!shown?.width) return null;
  const made = document.createElement("canvas");
  made.ariaHidden = "true";
  made.width = width ?? shown.width;
  made.height = Math.round((made.width * shown.height) / shown.width);
  made.getContext("2d").drawImage(shown, 0, 0, made.width, made.height);
  return made;
}

export function keep(key, picture) {
  try {
    sessionStorage.setItem(PREFIX + key, JSON.stringify({ at: Date.now(), image: picture.toDataURL("image/webp", 0.7) }));
  } catch {
    forget(key); // no room, or the browser keeps nothing: the card goes without
  }
}

export function kept(key) {
  return JSON.parse(sessionStorage.getItem(PREFIX + key));
}

export function forget(key) {
  sessionStorage.removeItem(PREFIX + key);
}

// All but that user's; without one, all.
export function forgetOthers(user = "") {
  for (const name of Object.keys(sessionStorage)) {
    if (name.startsWith(PREFIX) && !(user && name.startsWith(`${PREFIX}${user}/`))) sessionStorage.removeItem(name);
  }
}
