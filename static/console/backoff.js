// When to try again: soon, then ever less often, never all at once, and not for ever.

const STEPS = [1, 2, 4, 8, 15]; // seconds
const GIVE_UP = 5 * 60_000; // milliseconds without a connection
const STABLE = 20_000; // a connection that held this long (milliseconds) starts the steps anew

export class Backoff {
  #attempt = 0;
  #since = null;
  #connectedAt = null;

  connected() { this.#connectedAt = performance.now(); }

  restart() {
    this.#attempt = 0;
    this.#since = null;
    this.#connectedAt = null;
  }

  // Seconds to wait before the next attempt (0.75 to 1.25 times the step), or null: given up.
  next() {
    const now = performance.now();
    if (this.#connectedAt !== null && now - this.#connectedAt > STABLE) this.restart();
    this.#connectedAt = null;
    this.#since ??= now;
    if (now - this.#since > GIVE_UP) return null;
    const step = STEPS[Math.min(this.#attempt++, STEPS.length - 1)];
    return step * (0.75 + Math.random() / 2);
  }
}
