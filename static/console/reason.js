// Why the portal did not open the websocket: browsers do not tell a page the status of a refused upgrade.

// Codes that signing in again mends.
export const SIGNED_OUT = new Set(["signed-out", "login-expired"]);

// status: the address to ask. Returns { code, title, advice, request_id, retry }, or null: nothing speaks against it now.
export async function reason(status) {
  try {
    const response = await fetch(`${status}?origin=${encodeURIComponent(location.origin)}`, { signal: AbortSignal.timeout(10_000) });
    if (response.ok) return null;
    const answer = await response.json();
    return { ...answer, code: response.status === 401 ? "signed-out" : "refused", retry: response.status >= 500 };
  } catch {
    return null;
  }
}
