"""The portal's end of a console's websocket, scripted: a small RFB server that paints one colour."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from tornado.websocket import WebSocketHandler

from cyberlab.auth.access import Action
from cyberlab.handlers.base import BaseHandler, requires
from tests import patience

WIDTH, HEIGHT = 64, 48
RED = bytes((200, 30, 40, 0))
RAW, EXTENDED_KEYS = 0, -258
SIZES = {0: 20, 3: 10, 4: 8, 5: 6}  # client messages of fixed size, RFC 6143 section 7.5


@dataclass
class ScriptedConsole:
    """What the next websockets do, and what the page has sent."""

    shared: list[int] = field(default_factory=list)
    keys: list[tuple[int, int, int]] = field(default_factory=list)  # down, keysym, scan code (0: plain KeyEvent)
    clipboard: list[str] = field(default_factory=list)
    opened: int = 0
    end: dict[str, Any] | None = None  # sent instead of a picture
    sockets: list[ScriptedSocket] = field(default_factory=list)
    silent: bool = False  # stops after the first step
    telling: set[asyncio.Future[None]] = field(default_factory=set)
    gone: asyncio.Condition = field(default_factory=asyncio.Condition)  # told when one of them closes

    async def pressed(self, count: int) -> list[tuple[int, int, int]]:
        """The key events, once there are so many."""
        async with asyncio.timeout(patience.SECONDS):
            while len(self.keys) < count:
                await asyncio.sleep(0.02)
        return self.keys

    @property
    def live(self) -> list[str]:
        """The addresses of those that are open."""
        return [socket.request.uri or "" for socket in self.sockets if socket.ws_connection is not None]


@requires(Action.OPEN_CONSOLE, on_vm=True)
class ScriptedSocket(BaseHandler, WebSocketHandler):
    """Speaks as the gateway does: events as text, RFB as binary."""

    size = WIDTH, HEIGHT

    def initialize(self, console: ScriptedConsole) -> None:
        self.console = console
        self.buffer = bytearray()
        self.state = self.version
        self.need = 12

    def _ask_to_sign_in(self) -> None:
        self.set_status(401)
        self.finish()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "cyberlab.events" if "cyberlab.events" in subprotocols else None

    def event(self, **fields: Any) -> None:
        self.write_message(json.dumps(fields))

    def open(self, vm_id: str) -> None:
        self.console.opened += 1
        self.console.sockets.append(self)
        self.event(event="step", step="ticket", text="asking node pve1 for a console")
        if self.console.silent:
            return
        if self.console.end is not None:
            self.finish_with(self.console.end)
            return
        self.event(event="step", step="handshake", text="opening the screen")
        self.event(event="ready")
        self.greeted()

    def greeted(self) -> None:
        """The portal's first bytes."""
        self.send(b"RFB 003.008\n")

    def on_close(self) -> None:
        tell = asyncio.ensure_future(self._tell())
        self.console.telling.add(tell)
        tell.add_done_callback(self.console.telling.discard)

    async def _tell(self) -> None:
        async with self.console.gone:
            self.console.gone.notify_all()

    def finish_with(self, end: dict[str, Any]) -> None:
        self.event(event="end", **end)
        self.close(4000, end["code"])

    def send(self, data: bytes) -> None:
        self.write_message(data, binary=True)

    def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        self.buffer += message
        while len(self.buffer) >= self.need:
            chunk = bytes(self.buffer[: self.need])
            del self.buffer[: self.need]
            self.state(chunk)

    def version(self, chunk: bytes) -> None:
        assert chunk == b"RFB 003.008\n"
        self.send(b"\x01\x01")
        self.state, self.need = self.security, 1

    def security(self, chunk: bytes) -> None:
        self.send(struct.pack(">I", 0))
        self.state, self.need = self.client_init, 1

    def client_init(self, chunk: bytes) -> None:
        self.console.shared.append(chunk[0])
        pixels = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)
        self.send(struct.pack(">HH", *self.size) + pixels + struct.pack(">I", 4) + b"kali")
        self.state, self.need = self.kind, 1

    def kind(self, chunk: bytes) -> None:
        kind = chunk[0]
        self.rest = {2: 4, 6: 8, 255: 12}.get(kind) or SIZES[kind]
        self.message_kind = kind
        self.state, self.need = self.body, self.rest - 1

    def body(self, chunk: bytes) -> None:
        kind = self.message_kind
        self.state, self.need = self.kind, 1
        if kind == 2:
            self.state, self.need = self.ignored, 4 * struct.unpack(">H", chunk[1:])[0]
        elif kind == 3 and chunk[0] == 0:
            self.paint()
        elif kind == 4:
            down, keysym = struct.unpack(">BxxI", chunk)
            self.console.keys.append((down, keysym, 0))
        elif kind == 255:
            _, down, keysym, code = struct.unpack(">BHII", chunk)
            self.console.keys.append((down, keysym, code))
        elif kind == 6:
            self.state, self.need = self.cut_text, struct.unpack(">I", chunk[3:])[0]

    def ignored(self, chunk: bytes) -> None:
        self.state, self.need = self.kind, 1

    def cut_text(self, chunk: bytes) -> None:
        self.console.clipboard.append(chunk.decode("latin-1"))
        self.state, self.need = self.kind, 1

    def paint(self) -> None:
        """One picture, and the promise to understand scan codes."""
        self.send(
            struct.pack(">BxH", 0, 2)
            + struct.pack(">HHHHi", 0, 0, *self.size, RAW)
            + self.pixels()
            + struct.pack(">HHHHi", 0, 0, 0, 0, EXTENDED_KEYS)
        )

    def pixels(self) -> bytes:
        """The whole picture."""
        return RED * (self.size[0] * self.size[1])

    def copied(self, text: str) -> None:
        """The machine has something on its clipboard (ServerCutText)."""
        self.send(struct.pack(">B3xI", 3, len(text)) + text.encode("latin-1"))

    def drop(self) -> None:
        """As when the network fails: no closing handshake."""
        assert self.ws_connection is not None
        self.ws_connection.stream.close()  # type: ignore[attr-defined]
