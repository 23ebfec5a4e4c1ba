// Put a text on the clipboard; whether that worked: without https there is no navigator.clipboard.
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
