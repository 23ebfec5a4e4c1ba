"""The relay: two sockets spliced on the IOLoop, with backpressure both ways.

Proxmox -> browser is the bulk: a server's frames are unmasked on both hops, so the bytes pass untouched and only the
places between frames are followed. Browser -> Proxmox is a trickle: taken apart into messages, so that view-only
and limits hold here on the server, and framed anew within Proxmox's rules.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cyberlab import problems
from cyberlab.console import frames, transports
from cyberlab.console.client import ClientLink, RelayEnd
from cyberlab.console.frames import FrameError
from cyberlab.console.messages import ClientMessages, MessageError
from cyberlab.console.tracker import FrameTracker, complete_control
from cyberlab.console.upstream import UpstreamLink

_COPIED = 1024  # bytes; to copy fewer is quicker than to make views of them


class Relay(RelayEnd):
    """One open console, from its handshake until one side ends; ``ended`` then holds why, a code of ``problems``."""

    def __init__(self, client: ClientLink, upstream: UpstreamLink, messages: ClientMessages) -> None:
        """Take both links; ``start`` makes the bytes flow. ``messages``: what the browser may send."""
        loop = asyncio.get_running_loop()
        self.client = client
        self.upstream = upstream
        self.ended: asyncio.Future[str] = loop.create_future()
        self.bytes_to_client = 0
        self.bytes_to_upstream = 0
        self.upstream_full = False
        self.full_since: float | None = None  # loop time since which the browser's buffer has been full
        self.sent_upstream_at = loop.time()
        self._loop = loop
        self._tracker = FrameTracker()
        self._messages = messages
        self._to_client: Any = client.transport
        self._to_upstream: Any = upstream.transport
        self._over = False
        self._resting: asyncio.Future[None] | None = None
        self.detail = ""  # one line for the log
        self.close_code = 4000

    def start(self) -> None:
        """Hand over what both ends have read already, then let everything flow."""
        self.client.tracker = self._tracker
        self.client.relay = self
        early = self.upstream.hand_over(self)
        if early:
            self.from_upstream(bytearray(early), len(early))
        inbox = self.client.take_inbox()
        if inbox:
            self.from_client(inbox)
        if self.upstream.lost:
            self.upstream_lost()
        elif self.full_since is None:
            self._to_upstream.resume_reading()
        if self.client.lost:
            self.client_lost()

    # --- Proxmox -> browser

    def from_upstream(self, buffer: bytearray, size: int) -> None:
        """Pass on what Proxmox sent, up to the last place where a frame is known to go on or to end."""
        tracker = self._tracker
        if self._over or tracker.header or self.client.waiting:
            self._carefully(tracker.header + buffer[:size])
            return
        passed = tracker.track(buffer, size)
        if passed == size:
            self.bytes_to_client += size
            view = buffer[:size] if size < _COPIED else transports.lasting(memoryview(buffer)[:size])
            self._to_client.write(view)
        else:
            self._carefully(bytes(buffer[:size]), passed)

    def _carefully(self, data: bytes, passed: int = 0) -> None:
        """The slow path: an incomplete header, a control frame, a frame of ours that waits for a gap, or the end."""
        tracker = self._tracker
        tracker.header = b""
        try:
            while True:
                if passed:
                    self.bytes_to_client += passed
                    self._to_client.write(data[:passed])
                    data = data[passed:]
                if tracker.remaining == 0 and self._at_gap(data):
                    return
                control = complete_control(data) if tracker.remaining == 0 else None
                if control is not None:
                    self._control(control[0])
                    data, passed = data[control[1] :], 0
                elif (self._over or self.client.waiting) and 0 < tracker.remaining <= len(data):
                    # Only to the end of this frame: there is the gap.
                    passed, tracker.remaining = tracker.remaining, 0
                else:
                    passed = tracker.track(data, len(data))
                    if passed == 0:
                        tracker.header = data
                        return
        except FrameError as error:
            self._end(problems.UPSTREAM_CLOSED, str(error))

    def _at_gap(self, data: bytes) -> bool:
        """Between two frames: send what waits; whether there is nothing more to do."""
        if self.client.waiting:
            self.client.fill_gap()
        if self._over:
            self._at_rest()
        return self._over or not data

    def _control(self, control: frames.Control) -> None:
        if control.opcode == frames.PING:
            if self.upstream_full:
                return  # it does not read: answers must not pile up
            self._to_upstream.write(frames.client_frame(frames.PONG, control.payload))
        elif control.opcode == frames.CLOSE:
            self._end(problems.UPSTREAM_CLOSED)

    def client_full(self, full: bool) -> None:
        """The browser reads too slowly: stop reading from Proxmox until it has caught up."""
        if self.upstream.lost:
            return
        if full:
            self.full_since = self._loop.time()
            self._to_upstream.pause_reading()
        else:
            self.full_since = None
            self._to_upstream.resume_reading()

    def upstream_lost(self) -> None:
        """Proxmox closed the connection: that is how a console ends there."""
        self._end(problems.UPSTREAM_CLOSED)
        self._at_rest()

    # --- browser -> Proxmox

    def passes(self, frame: bytes) -> bool:
        """Pass on a frame of one whole message as it is: its mask is as good as ours, the browser chose it (5.3)."""
        size = len(frame) - 6
        if self._over or not self._messages.is_one(frame[6] ^ frame[2], frame[7] ^ frame[3], size):
            return False
        self.bytes_to_upstream += size
        self.sent_upstream_at = self.client.heard_at
        self._to_upstream.write(frame)
        return True

    def from_client(self, payload: bytes) -> None:
        """Pass on whole messages; what is none ends this console."""
        try:
            messages = self._messages.feed(payload)
        except MessageError as error:
            self._end(problems.CLIENT_PROTOCOL, str(error))
            return
        if messages and not self._over:
            self.bytes_to_upstream += len(messages)
            self.sent_upstream_at = self._loop.time()
            self._to_upstream.write(frames.client_frames(messages))

    def upstream_written(self, full: bool) -> None:
        """Proxmox takes too little: stop reading from the browser until it does."""
        self.upstream_full = full
        if self.client.lost:
            return
        if full:
            self._to_client.pause_reading()
        else:
            self._to_client.resume_reading()

    def client_broke_rules(self, code: int, why: str) -> None:
        """The browser's framing is broken."""
        self._end(problems.CLIENT_PROTOCOL, why, close_code=code)

    def client_closing(self) -> None:
        """The close frame is out: nothing more goes to the browser."""
        self._end("closed")
        if not self.upstream.lost:
            self._to_upstream.pause_reading()

    def client_lost(self) -> None:
        """The browser has gone."""
        self._end("closed")
        self._at_rest()

    # --- upkeep and the end

    def keep_alive(self, now: float, *, interval: float, stuck: float) -> None:
        """Called now and then: nudge a quiet `qm vncproxy`, give up on a browser that stopped reading.

        ``interval``: seconds without a byte to Proxmox after which a message is sent (a websocket ping does not
        reach `qm vncproxy`, which leaves after 15 quiet minutes); ``stuck``: seconds with a full buffer.
        """
        if self.full_since is not None and now - self.full_since > stuck:
            self._end(problems.CLIENT_STUCK)
        elif now - self.sent_upstream_at > interval and self._messages.between and not self.upstream_full:
            self.sent_upstream_at = now
            self._to_upstream.write(frames.client_frames(self._messages.keepalive))

    def end(self, code: str) -> None:
        """End the console from outside: a sign-out, an unassignment, a shutdown."""
        self._end(code)

    async def rest(self) -> None:
        """After the end: wait until Proxmox's current frame has ended, for ours to follow; give it a deadline."""
        if not (self._tracker.between or self.upstream.lost or self.client.lost):
            self._resting = self._loop.create_future()
            await self._resting

    def _at_rest(self) -> None:
        if self._resting is not None and not self._resting.done():
            self._resting.set_result(None)

    @property
    def frame_is_cut(self) -> bool:
        """Whether it has ended in the middle of a frame of Proxmox's: no frame of ours can follow."""
        return not self._tracker.between

    def _end(self, code: str, detail: str = "", *, close_code: int = 4000) -> None:
        """Say why it ended, once. What Proxmox still sends only finishes the frame it is in the middle of."""
        if not self._over:
            self._over = True
            self.detail = detail
            self.close_code = close_code
            self.ended.set_result(code)
