"""A guest without QEMU: an RFB 3.8 server (RFC 6143) with VNC authentication and a drawn screen."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import struct
import time

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from cyberlab.simulator.bootsector import attribute
from cyberlab.simulator.guest import CHUNK, GuestOff, Streams, hang_up
from cyberlab.simulator.screen import CELL_HEIGHT, CELL_WIDTH, HEIGHT, WIDTH, PixelFormat, Screen

VERSION = b"RFB 003.008\n"
VNC_AUTHENTICATION = 2
MAX_CUT_TEXT = 1024 * 1024
_KEYS = {0xFF0D: "\r", 0xFF8D: "\r", 0xFF08: "\b"}
_CONTROL, _ALT, _DELETE = {0xFFE3, 0xFFE4}, {0xFFE9, 0xFFEA}, {0xFFFF, 0xFF9F}


class ProtocolError(Exception):
    """The viewer broke the protocol or failed to authenticate: its connection ends."""


def vnc_response(challenge: bytes, password: str) -> bytes:
    """DES of the challenge under the first eight characters, bits of each byte mirrored (RFC 6143 section 7.2.2)."""
    raw = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in raw)
    # Triple DES under three equal keys is DES. ECB is what the RFC asks for.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(challenge) + encryptor.finalize()


class DrawnGuest:
    """The same machine as the boot sector's, drawn by this process."""

    def __init__(self, vmid: int, name: str) -> None:
        self.name = name
        self._attribute = attribute(vmid)
        self.screen: Screen | None = None
        self.viewers: set[_Viewer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._password = ""
        self._password_until = 0.0

    @property
    def running(self) -> bool:
        """Whether the power is on."""
        return self.screen is not None

    async def start(self) -> None:
        """Switch on."""
        if self.screen is None:
            self.screen = Screen(self.name, self._attribute, self._changed)

    async def stop(self) -> None:
        """Switch off; every viewer's connection ends."""
        self.screen = None
        self._password = ""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def reset(self) -> None:
        """Start over."""
        self.reboot()

    async def set_password(self, password: str, lifetime: float) -> None:
        """The password of the whole machine, and until when it holds."""
        self._on()
        self._password, self._password_until = password, time.monotonic() + lifetime

    async def connect(self) -> Streams:
        """A viewer's end of a fresh connection."""
        self._on()
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=far, limit=CHUNK)
        task = asyncio.create_task(self._serve(reader, writer), name=f"viewer of {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.open_connection(sock=near, limit=CHUNK)

    def _on(self) -> Screen:
        if self.screen is None:
            raise GuestOff(f"{self.name} is not running")
        return self.screen

    def _changed(self, row: int, first: int, last: int) -> None:
        for viewer in self.viewers:
            viewer.mark(row, first, last)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        viewer = _Viewer(self, reader, writer)
        try:
            await viewer.serve()
        except (ProtocolError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.viewers.discard(viewer)
            await hang_up(writer)

    def admits(self, challenge: bytes, response: bytes) -> bool:
        """Whether the response fits the password that is set now, which may have changed since the challenge."""
        if not self._password or time.monotonic() > self._password_until:
            return False
        return hmac.compare_digest(response, vnc_response(challenge, self._password))

    def enter(self, viewer: _Viewer, shared: bool) -> None:
        """A viewer is in; one that wants the machine for itself drops the others, as QEMU does."""
        if not shared:
            for other in self.viewers:
                other.drop()
            self.viewers.clear()
        self.viewers.add(viewer)

    def typed(self, letter: str) -> None:
        """A key from any viewer; all of them see what it does."""
        self._on().type(letter)
        self._show()

    def reboot(self) -> None:
        """Start over."""
        self._on().boot()
        self._show()

    def _show(self) -> None:
        for viewer in list(self.viewers):
            viewer.update()


class _Viewer:
    """One connection, from the version to its end."""

    def __init__(self, guest: DrawnGuest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._guest = guest
        self._reader = reader
        self._writer = writer
        self._pixels = PixelFormat()
        self._dirty: dict[int, tuple[int, int]] = {}
        self._wanted: tuple[int, int, int, int] | None = None
        self._held: set[int] = set()

    async def serve(self) -> None:
        """Handshake, then messages until the viewer leaves."""
        await self._handshake()
        while True:
            await self._message()
            await self._writer.drain()

    def drop(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def _handshake(self) -> None:
        self._writer.write(VERSION)
        if await self._reader.readexactly(12) != VERSION:
            raise ProtocolError("only RFB 3.8")
        self._writer.write(bytes([1, VNC_AUTHENTICATION]))
        if (await self._reader.readexactly(1))[0] != VNC_AUTHENTICATION:
            raise ProtocolError("a security type that was not offered")
        challenge = secrets.token_bytes(16)
        self._writer.write(challenge)
        response = await self._reader.readexactly(16)
        if not self._guest.admits(challenge, response):
            reason = b"Authentication failed"
            self._writer.write(struct.pack(">II", 1, len(reason)) + reason)
            await self._writer.drain()
            raise ProtocolError("wrong password")
        self._writer.write(struct.pack(">I", 0))
        shared = (await self._reader.readexactly(1))[0] != 0
        self._guest.enter(self, shared)
        name = f"QEMU ({self._guest.name})".encode()
        self._writer.write(
            struct.pack(">HH", WIDTH, HEIGHT) + self._pixels.pack() + struct.pack(">I", len(name)) + name
        )

    async def _message(self) -> None:
        """One client message (RFC 6143 section 7.5)."""
        kind = (await self._reader.readexactly(1))[0]
        if kind == 0:
            raw = await self._reader.readexactly(19)
            try:
                self._pixels = PixelFormat.unpack(raw[3:])
            except ValueError as error:
                raise ProtocolError(str(error)) from None
        elif kind == 2:
            (count,) = struct.unpack(">xH", await self._reader.readexactly(3))
            await self._reader.readexactly(4 * count)  # raw is always allowed, and all that is spoken here
        elif kind == 3:
            incremental, x, y, width, height = struct.unpack(">BHHHH", await self._reader.readexactly(9))
            self._request(bool(incremental), x, y, width, height)
        elif kind == 4:
            down, key = struct.unpack(">BxxI", await self._reader.readexactly(7))
            self._key(bool(down), key)
        elif kind == 5:
            await self._reader.readexactly(5)
        elif kind == 6:
            (length,) = struct.unpack(">3xI", await self._reader.readexactly(7))
            if length > MAX_CUT_TEXT:
                raise ProtocolError("cut text of more than a megabyte")
            await self._reader.readexactly(length)
        else:
            raise ProtocolError(f"client message {kind}")

    def _key(self, down: bool, key: int) -> None:
        if not down:
            self._held.discard(key)
            return
        self._held.add(key)
        if key in _DELETE and self._held & _CONTROL and self._held & _ALT:
            self._held.clear()
            self._guest.reboot()
        elif not self._held & (_CONTROL | _ALT):
            self._guest.typed(_KEYS.get(key, chr(key) if 32 <= key < 127 else ""))

    def _request(self, incremental: bool, x: int, y: int, width: int, height: int) -> None:
        width, height = min(width, WIDTH - x), min(height, HEIGHT - y)
        if width <= 0 or height <= 0:
            return
        self._wanted = (x, y, width, height)
        if not incremental:
            for row in range(y // CELL_HEIGHT, (y + height - 1) // CELL_HEIGHT + 1):
                self.mark(row, x // CELL_WIDTH, (x + width - 1) // CELL_WIDTH)
        self.update()

    def mark(self, row: int, first: int, last: int) -> None:
        """Those cells changed; they go out with the next update."""
        old = self._dirty.get(row, (first, last))
        self._dirty[row] = min(old[0], first), max(old[1], last)

    def update(self) -> None:
        """Send what changed inside the wanted rectangle, if something did and something is wanted."""
        screen = self._guest.screen
        if self._wanted is None or screen is None:
            return
        x, y, width, height = self._wanted
        rectangles = []
        for row, (first, last) in sorted(self._dirty.items()):
            left, right = max(x, first * CELL_WIDTH), min(x + width, (last + 1) * CELL_WIDTH)
            top, bottom = max(y, row * CELL_HEIGHT), min(y + height, (row + 1) * CELL_HEIGHT)
            if left < right and top < bottom:
                head = struct.pack(">HHHHi", left, top, right - left, bottom - top, 0)
                rectangles.append(head + screen.render(self._pixels, left, top, right - left, bottom - top))
                del self._dirty[row]
        if rectangles:
            self._wanted = None
            self._writer.write(struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles))
