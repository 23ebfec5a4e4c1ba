// The last picture of a machine, as its console was left: small, in this tab alone, and gone with it or with signing
// out, as the next one to sit down here must not see it. Keys: "USER/VM", both the portal's ids.

const PREFIX = "picture ";
const WIDTH = 400; // pixels

export function keep(key, canvas) {
  const small = document.createElement("canvas");
  small.width = WIDTH;
  small.height = Math.round((WIDTH * canvas.height) / canvas.width);
  small.getContext("2d").drawImage(canvas, 0, 0, small.width, small.height);
  try {
    sessionStorage.setItem(PREFIX + key, JSON.stringify({ at: Date.now(), image: small.toDataURL("image/webp", 0.7) }));
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
