"""The websocket end of vncwebsocket: pveproxy's own reading of RFC 6455, frame by frame."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import time
from collections.abc import Sequence

from cyberlab.simulator.guest import CHUNK, Streams, hang_up
from cyberlab.simulator.options import Options

MAX_PAYLOAD = 131_072
READ_BUFFER = 65_536  # AnyEvent.pm, accept_connections: rbuf_max of a client's handle
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE, _PING, _PONG = 8, 9, 10


class FrameRefused(Exception):
    """A ``die`` in pveproxy's frame reader."""


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


def server_frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked frame with FIN."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, size])
    elif size < 65_536:
        head = bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big")
    return head + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next client frame: opcode and unmasked payload (AnyEvent.pm, the reader inside websocket_proxy).

    A frame that does not fit into the buffer before its last byte ends the connection (AnyEvent::Handle, rbuf_max).
    """
    first, second = await reader.readexactly(2)
    if not first & 0x80:
        raise FrameRefused("received fragmented websocket frame")
    if first & 0x70:
        raise FrameRefused("received websocket frame with RSV flags")
    if not second & 0x80:
        raise FrameRefused("received unmasked websocket frame from client")
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    if size > MAX_PAYLOAD:
        raise FrameRefused(f"received too large websocket frame (len = {size})")
    mask = await reader.readexactly(4)
    if (10 if size > 65_535 else 4 if size > 125 else 2) + len(mask) + size > READ_BUFFER + 1:
        raise ConnectionAbortedError("No space left on device")
    return first & 0x0F, unmask(mask, await reader.readexactly(size))


def unmask(mask: bytes, payload: bytes) -> bytes:
    """XOR with the repeated mask; the same for masking."""
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")


class Relay:
    """One console between a client's websocket and a guest's screen."""

    def __init__(
        self,
        client: Streams,
        guest: Streams,
        options: Options,
        *,
        vmid: int = 0,
        terminal: bool = False,
        powered: Sequence[asyncio.Event] = (),
    ) -> None:
        """``terminal``: termproxy is behind it, which does not leave when nothing happens.

        ``powered``: of the nodes that it passes; while one is cleared, nothing moves and nobody is told.
        """
        self._powered = powered
        self.vmid = vmid
        self._client_reader, self._client = client
        self._guest_reader, self._guest = guest
        self._options = options
        self._terminal = terminal
        self.moved = time.monotonic()  # when the last byte of RFB passed, in either direction
        self.wedged = ""

    @property
    def buffered(self) -> int:
        """Bytes that wait in memory for a client that does not read."""
        return self._client.transport.get_write_buffer_size()

    def end(self) -> None:
        """The machine has gone: the client sees a bare close."""
        self._guest.transport.abort()

    async def run(self) -> None:
        """Move bytes until one side ends. Raises FrameRefused where the worker would die (no libev)."""
        directions = [
            asyncio.create_task(self._to_guest(), name="console to guest"),
            asyncio.create_task(self._to_client(), name="console to client"),
        ]
        if not self._terminal:
            directions.append(asyncio.create_task(self._idle(), name="console idle"))
        try:
            done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in directions:
                task.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            await hang_up(self._guest)
        for task in done:
            task.result()

    async def _passable(self) -> None:
        for event in self._powered:
            await event.wait()

    async def _to_guest(self) -> None:
        try:
            while True:
                opcode, payload = await read_frame(self._client_reader)
                await self._passable()
                if opcode in (1, 2):
                    self.moved = time.monotonic()
                    self._guest.write(payload)
                    if self._guest.transport.get_write_buffer_size() > self._options.guest_buffer:
                        return
                elif opcode == _CLOSE:
                    return
                elif opcode == _PING:
                    self._client.write(server_frame(_PONG, payload))
                elif opcode != _PONG:
                    raise FrameRefused(f"received unhandled websocket opcode {opcode}")
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        except FrameRefused as refused:
            if not self._options.libev:
                raise
            # EV ignores the error; the frame stays at the head of the buffer, so nothing behind it is ever read.
            self.wedged = str(refused)
        await drain_silently(self._client_reader)

    async def _to_client(self) -> None:
        with contextlib.suppress(ConnectionError):
            while (data := await self._guest_reader.read(CHUNK)) and not self._client.is_closing():
                await self._passable()
                self.moved = time.monotonic()
                for start in range(0, len(data), MAX_PAYLOAD):
                    self._client.write(server_frame(2, data[start : start + MAX_PAYLOAD]))
                # No drain: pveproxy never stops reading for a client that does not ("todo" in AnyEvent.pm).
                if self.buffered > self._options.client_buffer:
                    self._client.transport.abort()
                    return

    async def _idle(self) -> None:
        """``qm vncproxy`` leaves after 15 minutes without a byte; websocket pings do not reach it."""
        while True:
            left = self.moved + self._options.idle_exit - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)


async def drain_silently(reader: asyncio.StreamReader) -> None:
    """Swallow whatever comes, answer nothing, return when the client has left."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(CHUNK):
            pass
