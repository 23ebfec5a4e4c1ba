"""The browser's end of a console: a websocket server on a socket taken over from the web server (RFC 6455)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from cyberlab.console import frames
from cyberlab.console.frames import FrameError
from cyberlab.console.tracker import FrameTracker

# One buffer for all: whatever is read is used up before the next read. Small, because a browser sends keystrokes,
# and a flood of tiny frames is costly to parse: a full buffer ends the turn.
_BUFFER = bytearray(16 * 1024)
_VIEW = memoryview(_BUFFER)
HIGH_WATER, LOW_WATER = 128 * 1024, 32 * 1024
CLOSE_GRACE = 1.0  # seconds for a frame to end and for the browser to answer our close frame
_QUEUE = 16  # control frames that may wait for the end of a frame

WENT_AWAY = "closed"


class ClientClosed(Exception):
    """The browser has gone; nobody is left to tell."""


class ClientLink(asyncio.BufferedProtocol):
    """Parses what the browser sends and writes between frames only.

    Until ``relay`` is set, payloads collect in a small inbox for the RFB handshake (``receive``); from then on they
    go to the relay as they come. ``events`` tells whether the page understands our text messages.
    """

    def __init__(
        self,
        *,
        events: bool = False,
        leftover: bytes = b"",
        max_frame: int = 1 << 20,
        translate: Callable[[str], str] = str,
    ) -> None:
        """``leftover``: bytes that the web server had read already; ``max_frame``: bytes, 1009 above it.

        ``translate``: into the language of the page, what events say in words.
        """
        self.events = events
        self.translate = translate
        self.relay: RelayEnd | None = None
        self.tracker: FrameTracker | None = None  # set by the relay: where Proxmox's frames begin and end
        self.on_lost: Callable[[], None] | None = None
        self.lost = False
        self.ending = False
        self.end_reason = WENT_AWAY
        self.heard_at = 0.0  # loop time of the last bytes from the browser
        self.written = 0
        self._frames = frames.ClientFrames(max_frame)
        self._leftover = leftover
        self._inbox = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._queue: list[bytes] = []
        self._full = False  # the browser reads more slowly than we write
        self._pong = b""  # the answer to the newest ping, while full
        self._closed_by_browser = False  # its close frame has come
        self._closed_by_us = False  # ours is out, not just in the queue
        self._broken = False  # it broke the rules: nothing that it sends is looked at any more (RFC 6455, 7.1.7)
        self._abort_timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self.transport: Any = None  # asyncio.Transport, or aiofastnet's with write_nocheck

    # --- what the transport calls

    def connection_made(self, transport: Any) -> None:
        """Take the transport and whatever the web server had read too far."""
        self._loop = asyncio.get_running_loop()
        self.transport = transport
        self.heard_at = self._loop.time()
        transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        if self._leftover:
            leftover, self._leftover = self._leftover, b""
            self._received(leftover)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where to read into."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came from the browser."""
        self._received(bytes(_VIEW[:nbytes]))
        if nbytes == len(_BUFFER) and self.transport.is_reading():
            # It floods: the others have their turn first.
            self.transport.pause_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self.lost and (self._closed_by_us or self.relay is None or not self.relay.upstream_full):
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The browser reads more slowly than the machine draws."""
        self._full = True
        if self.relay is not None:
            self.relay.client_full(True)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._full = False
        pong, self._pong = self._pong, b""
        if pong:
            self.send(pong)
        if self.relay is not None:
            self.relay.client_full(False)

    def eof_received(self) -> bool:
        """A browser that closes its half has gone; what it has not read by now, it never will."""
        if not self.ending:
            self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by whomever."""
        self.lost = True
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        self._wake()
        if self.relay is not None:
            self.relay.client_lost()
        if self.on_lost is not None:
            self.on_lost()

    # --- reading

    def _received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        if self._broken:
            return
        if self.relay is not None and not self.ending and self._frames.is_lone(data) and self.relay.passes(data):
            return
        try:
            for event in self._frames.feed(data):
                if isinstance(event, frames.Data):
                    self._data(event)
                else:
                    self._control(event)
                if self.lost:
                    return
        except FrameError as error:
            self.refuse(error.code, str(error))

    def _data(self, event: frames.Data) -> None:
        if self.ending:
            return
        if event.opcode != frames.BINARY:
            raise FrameError(1003, "text message; consoles are binary")
        if self.relay is not None:
            self.relay.from_client(event.payload)
            return
        self._inbox += event.payload
        if len(self._inbox) > 4096:
            raise FrameError(1009, "too many bytes before the RFB handshake has ended")
        self._wake()

    def _control(self, event: frames.Control) -> None:
        if event.opcode == frames.PING:
            pong = frames.server_frame(frames.PONG, event.payload)
            if self._full:
                self._pong = pong  # it does not read: answers must not pile up, and the newest will do (5.5.3)
            else:
                self.send(pong)
        elif event.opcode == frames.CLOSE:
            self._closed_by_browser = True
            if not self.ending:
                code, _ = frames.parse_close(event.payload)
                self.close(1000 if code == 1005 else code, "")
            elif self._closed_by_us:
                self.transport.close()

    async def receive(self, size: int) -> bytes:
        """Return the next ``size`` bytes of the RFB handshake; raise ClientClosed. The caller sets the deadline."""
        while len(self._inbox) < size:
            if self.lost or self.ending:
                raise ClientClosed
            self._waiter = self._loop.create_future()
            await self._waiter
        data = bytes(self._inbox[:size])
        del self._inbox[:size]
        return data

    def take_inbox(self) -> bytes:
        """What came after the handshake and before the relay."""
        data = bytes(self._inbox)
        self._inbox.clear()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- writing

    def send(self, frame: bytes) -> None:
        """Send a whole frame of our own: now, or as soon as Proxmox's current frame has ended."""
        if self.lost or self.ending:
            return  # nothing follows our close frame
        if self.tracker is None or self.tracker.between:
            self.transport.write(frame)
        else:
            if len(self._queue) >= _QUEUE:
                self._queue.pop(0)  # pings that pile up: the newest are the ones to answer (RFC 6455, 5.5.3)
            self._queue.append(frame)

    def send_binary(self, payload: bytes) -> None:
        """Send bytes of the RFB handshake."""
        self.send(frames.server_frame(frames.BINARY, payload))

    def send_event(self, **event: object) -> None:
        """Tell the page something beside the picture, if it asked for that."""
        if self.events:
            self.send(frames.server_frame(frames.TEXT, json.dumps(event, ensure_ascii=False).encode()))

    def ping(self) -> None:
        """Ask whether the browser is there, and keep proxies in between from dropping a quiet connection."""
        self.send(frames.server_frame(frames.PING, b""))

    @property
    def waiting(self) -> bool:
        """Whether a frame of our own waits for a gap between Proxmox's."""
        return bool(self._queue)

    def fill_gap(self) -> None:
        """The relay stands between two frames: send what waits."""
        queue, self._queue = self._queue, []
        for frame in queue:
            self.transport.write(frame)
        if self.ending:
            self._say_no_more()

    # --- the end

    def refuse(self, code: int, why: str) -> None:
        """End the console because the browser broke the rules."""
        self._broken = True
        if self.relay is not None:
            self.relay.client_broke_rules(code, why)
        else:
            self.end_reason = "client-protocol"
            self.close(code, "client-protocol")

    def close(self, code: int, reason: str) -> None:
        """Send a close frame at the next gap, then close; within CLOSE_GRACE whatever the browser does."""
        if self.lost or self.ending:
            return
        self.send(frames.server_frame(frames.CLOSE, frames.close_payload(code, reason)))
        self.ending = True
        self._wake()
        self._abort_timer = self._loop.call_later(CLOSE_GRACE, self.abort)
        if not self._queue:
            self._say_no_more()

    def _say_no_more(self) -> None:
        """Our close frame is out: from here on the socket is only drained, so that no reset overtakes the frame."""
        self._closed_by_us = True
        self.tracker = None
        if self.relay is not None:
            self.relay.client_closing()
        if self._closed_by_browser:
            self.transport.close()  # the server hangs up first (RFC 6455, 7.1.1)
            return
        self.transport.resume_reading()
        if self._broken:
            self.transport.write_eof()  # no answer is waited for

    def abort(self) -> None:
        """Drop the connection."""
        self._abort_timer = None
        if not self.lost:
            self.transport.abort()


class RelayEnd:
    """What a link calls on the relay it belongs to."""

    upstream_full = False

    def from_client(self, payload: bytes) -> None:
        """Bytes of RFB messages came from the browser."""
        raise NotImplementedError

    def passes(self, frame: bytes) -> bool:
        """One whole small frame came; whether it has gone on as it is. If not, it comes again as bytes of messages."""
        return False

    def client_full(self, full: bool) -> None:
        """The browser's write buffer is full, or has emptied."""
        raise NotImplementedError

    def client_lost(self) -> None:
        """The browser's socket is closed."""
        raise NotImplementedError

    def client_closing(self) -> None:
        """The close frame towards the browser is out."""
        raise NotImplementedError

    def client_broke_rules(self, code: int, why: str) -> None:
        """The browser sent what it must not."""
        raise NotImplementedError
