// Whether the page is being left. Firefox closes websockets, and Firefox and Safari break requests off, as soon as a
// link is followed: long before the next page is there, and without anything being wrong. Not for good, since the
// link may lead to a file, or Esc may break it off.

const LONG = 5_000; // milliseconds

let since = -Infinity;

window.addEventListener("beforeunload", () => { since = performance.now(); });
window.addEventListener("pagehide", () => { since = Infinity; });
window.addEventListener("pageshow", () => { since = -Infinity; });

export const leaving = () => performance.now() < since + LONG;

// Wait until the page stays after all.
export async function stayed() {
  while (leaving()) await new Promise((resolve) => setTimeout(resolve, Math.min(LONG, since + LONG - performance.now())));
}
