// What Proxmox's termproxy understands: 0:LENGTH:INPUT (length in bytes), 1:COLUMNS:ROWS: and 2, a sign of life.
// Each goes out as one message: termproxy forgets a header that comes in two pieces.

const encoder = new TextEncoder();
const PIECE = 4096; // bytes of input in one message, termproxy's own buffer
const PAUSE = 15; // milliseconds between pieces of a long text
const LIMIT = 256 * 1024; // bytes that may wait: Proxmox hangs up on a terminal that takes nothing at 640 KiB
const LARGEST = 1000; // columns or rows

export class Keyboard {
  #channel;
  #queue = [];
  #waiting = 0;
  #timer = 0;

  constructor(channel) { this.#channel = channel; }

  // Type a text; false: too much waits already, nothing of it was taken.
  type(text) { return this.#take(encoder.encode(text)); }

  // Type bytes, given as a string of Latin-1 characters (mouse reports).
  bytes(text) { return this.#take(Uint8Array.from(text, (character) => character.charCodeAt(0))); }

  resize(columns, rows) {
    const within = (size) => Math.max(1, Math.min(LARGEST, size));
    this.#channel.send(encoder.encode(`1:${within(columns)}:${within(rows)}:`));
  }

  close() {
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  #take(bytes) {
    if (this.#waiting + bytes.length > LIMIT) return false;
    for (let start = 0; start < bytes.length; start += PIECE) this.#queue.push(bytes.subarray(start, start + PIECE));
    this.#waiting += bytes.length;
    if (!this.#timer) this.#next();
    return true;
  }

  #next() {
    this.#timer = 0;
    const piece = this.#queue.shift();
    if (!piece) return;
    this.#waiting -= piece.length;
    const header = encoder.encode(`0:${piece.length}:`);
    const message = new Uint8Array(header.length + piece.length);
    message.set(header);
    message.set(piece, header.length);
    this.#channel.send(message);
    if (this.#queue.length) this.#timer = setTimeout(() => this.#next(), PAUSE);
  }
}
