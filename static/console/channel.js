// The portal's websocket as noVNC wants to see it: BINARY messages are RFB and pass untouched, TEXT messages
// are events of the portal (JSON) and go to the page. Messages that come before noVNC listens are kept.

const EVENTS = "cyberlab.events";

export class Channel {
  onopen = null;
  onerror = null;
  onclose = null;
  #onmessage = null;
  #early = [];
  #socket;

  // url: the websocket's path; page: { opened(), event(object), screen(), closed(CloseEvent) }.
  constructor(url, page) {
    this.#socket = new WebSocket(url, [EVENTS, "binary"]);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = (event) => {
      page.opened();
      if (this.#socket.protocol !== EVENTS) page.screen();
      this.onopen?.(event);
    };
    this.#socket.onmessage = (event) => {
      if (typeof event.data === "string") {
        page.event(parsed(event.data));
        return;
      }
      page.screen();
      if (this.#onmessage) this.#onmessage(event);
      else this.#early.push(event);
    };
    this.#socket.onerror = (event) => this.onerror?.(event);
    this.#socket.onclose = (event) => {
      page.closed(event);
      this.onclose?.(event);
    };
  }

  get onmessage() { return this.#onmessage; }
  set onmessage(listener) {
    this.#onmessage = listener;
    if (!listener) return;
    for (const event of this.#early.splice(0)) listener(event);
  }

  get binaryType() { return this.#socket.binaryType; }
  set binaryType(kind) { this.#socket.binaryType = kind; }
  get protocol() { return this.#socket.protocol; }
  get readyState() { return this.#socket.readyState; }

  send(data) { this.#socket.send(data); }
  close() { this.#socket.close(); }
}

function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
