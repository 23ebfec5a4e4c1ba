"""Both kinds of guest behind the same interface: passwords, pixels, keys, power."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cyberlab.simulator.bootsector import boot_sector
from cyberlab.simulator.guest import Guest, GuestOff
from cyberlab.simulator.guest_drawn import DrawnGuest, vnc_response
from cyberlab.simulator.guest_qemu import QemuGuest
from cyberlab.simulator.screen import HEIGHT, WIDTH, PixelFormat, Screen
from tests.services import require
from tests.simulator.clients import DEADLINE

Make = Callable[[], Guest]


@pytest.fixture(params=["drawn", "qemu"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "drawn":
        return lambda: DrawnGuest(100, "kali-07")
    require("qemu")
    return lambda: QemuGuest(100, "kali-07", tmp_path)


@asynccontextmanager
async def _running(make: Make) -> AsyncIterator[Guest]:
    guest = make()
    await guest.start()
    try:
        yield guest
    finally:
        await guest.stop()


class _Rfb:
    """RFB over the guest's own streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def enter(cls, guest: Guest, password: str, *, shared: bool = True) -> _Rfb:
        self = cls(*await guest.connect())
        async with asyncio.timeout(DEADLINE):
            assert await self.reader.readexactly(12) == b"RFB 003.008\n"
            self.writer.write(b"RFB 003.008\n")
            assert await self.reader.readexactly(2) == b"\x01\x02"
            self.writer.write(b"\x02")
            self.writer.write(vnc_response(await self.reader.readexactly(16), password))
            if await self.reader.readexactly(4) != b"\0\0\0\0":
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                reason = (await self.reader.readexactly(length)).decode()
                await self.close()
                raise PermissionError(reason)
            self.writer.write(bytes([shared]))
            self.size = struct.unpack(">HH", await self.reader.readexactly(4))
            self.pixels = PixelFormat.unpack(await self.reader.readexactly(16))
            (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            self.name = (await self.reader.readexactly(length)).decode()
        return self

    async def frame(self, *, incremental: bool, area: tuple[int, int, int, int] | None = None) -> bytes:
        """Ask for an update, return all its pixels."""
        x, y, width, height = area or (0, 0, *self.size)
        self.writer.write(struct.pack(">BBHHHH", 3, incremental, x, y, width, height))
        return await self.update()

    async def update(self) -> bytes:
        async with asyncio.timeout(DEADLINE):
            assert await self.reader.readexactly(2) == b"\0\0"
            (count,) = struct.unpack(">H", await self.reader.readexactly(2))
            found = b""
            for _ in range(count):
                _, _, width, height, encoding = struct.unpack(">HHHHi", await self.reader.readexactly(12))
                assert encoding == 0
                found += await self.reader.readexactly(width * height * self.pixels.bits // 8)
            return found

    def key(self, keysym: int) -> None:
        for down in (1, 0):
            self.writer.write(struct.pack(">BBxxI", 4, down, keysym))

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def _settled(viewer: _Rfb) -> bytes:
    """The whole screen once it has stopped changing: the guest has booted and waits for a key."""
    same, last = 0, b""
    while same < 5:
        now = await viewer.frame(incremental=False)
        same = same + 1 if now == last and len({*zip(now[::4], now[1::4], now[2::4], strict=True)}) == 2 else 0
        last = now
        await asyncio.sleep(0.05)
    return last


@pytest.mark.gen_test
async def test_a_key_changes_the_picture_and_backspace_takes_it_back(make: Make) -> None:
    async with _running(make) as guest:
        await guest.set_password("secret12", 30)
        viewer = await _Rfb.enter(guest, "secret12")
        empty = await _settled(viewer)
        viewer.key(ord("x"))
        while (typed := await viewer.frame(incremental=False)) == empty:
            pass
        viewer.key(0xFF08)
        while await viewer.frame(incremental=False) != empty:
            pass
        viewer.key(0xFF0D)
        while await viewer.frame(incremental=False) in (empty, typed):
            pass
        await viewer.close()


@pytest.mark.gen_test
async def test_wrong_expired_and_replaced_passwords(make: Make) -> None:
    async with _running(make) as guest:
        with pytest.raises(PermissionError):
            await _Rfb.enter(guest, "")
        await guest.set_password("first", 30)
        with pytest.raises(PermissionError, match="Authentication failed"):
            await _Rfb.enter(guest, "wrong")
        inside = await _Rfb.enter(guest, "first")
        await guest.set_password("second", 30)
        with pytest.raises(PermissionError):
            await _Rfb.enter(guest, "first")
        second = await _Rfb.enter(guest, "second")
        assert await inside.frame(incremental=False), "who is in stays in"
        await inside.close()
        await second.close()


@pytest.mark.gen_test
async def test_an_exclusive_viewer_drops_the_others(make: Make) -> None:
    async with _running(make) as guest:
        await guest.set_password("first", 30)
        shared = await _Rfb.enter(guest, "first")
        also = await _Rfb.enter(guest, "first")
        assert await shared.frame(incremental=False)
        alone = await _Rfb.enter(guest, "first", shared=False)
        for viewer in (shared, also):
            try:
                while await asyncio.wait_for(viewer.reader.read(65_536), DEADLINE):
                    pass
            except ConnectionError:
                pass
            await viewer.close()
        assert await alone.frame(incremental=False)
        await alone.close()


@pytest.mark.gen_test
async def test_power(make: Make) -> None:
    guest = make()
    for ask in (guest.connect, guest.reset, lambda: guest.set_password("x", 30)):
        with pytest.raises(GuestOff):
            await ask()
    await guest.start()
    await guest.start()
    assert guest.running
    await guest.set_password("secret12", 30)
    viewer = await _Rfb.enter(guest, "secret12")
    await guest.reset()
    assert await viewer.frame(incremental=False), "a reset does not end the viewer"
    await guest.stop()
    assert not guest.running
    while await asyncio.wait_for(viewer.reader.read(65_536), DEADLINE):
        pass
    await viewer.close()
    await guest.stop()
    await guest.start()
    with pytest.raises(PermissionError):
        await _Rfb.enter(guest, "secret12")
    await guest.stop()


@pytest.mark.gen_test
async def test_a_qemu_that_dies_is_a_stopped_vm(tmp_path: Path) -> None:
    require("qemu")
    heard = asyncio.Event()
    guest = QemuGuest(100, "kali-07", tmp_path, lambda vmid: heard.set())
    await guest.start()
    assert guest.pid is not None
    os.kill(guest.pid, 9)
    await heard.wait()
    assert not guest.running
    await guest.start()
    assert guest.running
    await guest.stop()


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.gen_test
async def test_every_pixel_format(bits: int) -> None:
    guest = DrawnGuest(100, "kali-07")
    await guest.start()
    await guest.set_password("p", 30)
    viewer = await _Rfb.enter(guest, "p")
    assert viewer.name == "QEMU (kali-07)"
    maxima, shifts = {8: ((7, 7, 3), (0, 3, 6)), 16: ((31, 63, 31), (11, 5, 0)), 32: ((255,) * 3, (0, 8, 16))}[bits]
    viewer.pixels = PixelFormat(bits, min(bits, 24), bits == 16, maxima, shifts)
    viewer.writer.write(b"\0\0\0\0" + viewer.pixels.pack())
    whole = await viewer.frame(incremental=False)
    size = bits // 8
    assert len(whole) == WIDTH * HEIGHT * size
    assert whole[:size] == viewer.pixels.pixel((0, 0, 170))
    area = (13, 21, 100, 30)
    part = await viewer.frame(incremental=False, area=area)
    rows = [whole[(y * WIDTH + 13) * size : (y * WIDTH + 113) * size] for y in range(21, 51)]
    assert part == b"".join(rows), "a part is cut out to the pixel"
    await viewer.close()
    await guest.stop()


@pytest.mark.gen_test
async def test_an_incremental_request_waits_for_a_change() -> None:
    guest = DrawnGuest(100, "kali-07")
    await guest.start()
    await guest.set_password("p", 30)
    viewer, other = await _Rfb.enter(guest, "p"), await _Rfb.enter(guest, "p")
    await viewer.frame(incremental=False)
    waiting = asyncio.create_task(viewer.frame(incremental=True))
    await other.frame(incremental=False)
    assert not waiting.done()
    other.key(ord("k"))
    assert len(await waiting) == 2 * 8 * 16 * 4, "one letter and the cursor"
    await viewer.close()
    await other.close()
    await guest.stop()


@pytest.mark.parametrize(
    "bad",
    [b"\xff", b"\0\0\0\0" + PixelFormat().pack()[:3] + b"\0" + PixelFormat().pack()[4:], b"\x06\0\0\0\xff\xff\xff\xff"],
    ids=["unknown message", "colour map", "huge cut text"],
)
@pytest.mark.gen_test
async def test_a_broken_viewer_is_dropped(bad: bytes) -> None:
    guest = DrawnGuest(100, "kali-07")
    await guest.start()
    await guest.set_password("p", 30)
    viewer = await _Rfb.enter(guest, "p")
    viewer.writer.write(bad)
    assert await asyncio.wait_for(viewer.reader.read(), DEADLINE) == b""
    await viewer.close()
    assert not guest.viewers
    await guest.stop()


@pytest.mark.gen_test
async def test_control_alt_delete_starts_over() -> None:
    guest = DrawnGuest(100, "kali-07")
    await guest.start()
    assert guest.screen is not None
    fresh = guest.screen.text
    await guest.set_password("p", 30)
    viewer = await _Rfb.enter(guest, "p")
    viewer.key(ord("k"))
    for key in (0xFFE3, 0xFFE9, 0xFFFF):
        viewer.writer.write(struct.pack(">BBxxI", 4, 1, key))
    await viewer.frame(incremental=False)
    assert guest.screen.text == fresh
    await viewer.close()
    await guest.stop()


def test_the_screen_scrolls_and_keeps_its_line() -> None:
    changes: list[int] = []
    screen = Screen("kali-07", 0x1F, lambda row, first, last: changes.append(row))
    for number in range(40):
        for letter in f"line {number}\r":
            screen.type(letter)
    lines = screen.text.split("\n")
    assert len(lines) == 25
    assert lines[-2:] == ["$ line 39", "$ _"]
    for _ in range(200):
        screen.type("w")
    assert screen.text.split("\n")[-1] == "$ " + "w" * 76 + "_"
    for _ in range(200):
        screen.type("\b")
    assert screen.text.split("\n")[-1] == "$ _"


def test_the_boot_sector_is_one() -> None:
    sector = boot_sector("ü" * 200, 0x1F)
    assert len(sector) == 512
    assert sector.endswith(b"\x55\xaa")


def test_the_response_is_the_known_one() -> None:
    """DES with the bits of each key byte mirrored: the key 10 00 … is 08 00 …, and only eight characters count."""
    challenge = bytes(range(16))
    assert vnc_response(challenge, "password") == vnc_response(challenge, "password-and-more")
    assert vnc_response(challenge, "COW") != vnc_response(challenge, "cow")
    # FIPS 81's example: DES key 0123456789abcdef over "Now is t"; the password is that key, mirrored byte by byte.
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in bytes.fromhex("0123456789abcdef")).decode("latin-1")
    assert vnc_response(b"Now is t" * 2, key) == bytes.fromhex("3fa40e8a984d4815") * 2
