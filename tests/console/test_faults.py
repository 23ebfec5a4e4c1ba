"""Peers as they are: slow, flooding, cut off, byte by byte. No byte is reordered, lost or told twice."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.console import frames
from cyberlab.console.client import HIGH_WATER
from cyberlab.console.fairness import SIZE
from cyberlab.console.frames import BINARY, CONTINUATION, PING, PONG
from cyberlab.console.relay import Relay
from tests.console.conftest import Bench, console_bench
from tests.console.ends import BrowserEnd, ProxmoxEnd
from tests.console.test_session import KEY, echo

pytestmark = pytest.mark.usefixtures("transport")
Script = Callable[[ProxmoxEnd], Awaitable[None]]
SIZES = (0, 1, 2, 125, 126, 127, 1024, 4096, 16_384, 65_535, 65_536, 131_072)


def picture(size: int, seed: int = 1) -> bytes:
    """Frames of mixed sizes, ``size`` bytes or a little more in all."""
    chance, data = random.Random(seed), bytearray()
    while len(data) < size:
        payload = chance.randbytes(chance.choice(SIZES))
        data += frames.server_frame(BINARY, payload)
    return bytes(data)


def keys(count: int, seed: int = 2) -> bytes:
    """That many key events."""
    chance = random.Random(seed)
    return b"".join(b"\x04\x01\0\0" + chance.randbytes(4) for _ in range(count))


def pastes(size: int, seed: int = 4) -> bytes:
    """So much pasted text."""
    chance, data = random.Random(seed), bytearray()
    while len(data) < size:
        text = chance.randbytes(chance.choice((10, 1000, 60_000)))
        data += b"\x06\0\0\0" + len(text).to_bytes(4, "big") + text
    return bytes(data)


def relay_of(bench: Bench) -> Relay:
    live = list(bench.gateway.registry)[-1]
    relay: Relay = live.close.__self__._relay  # type: ignore[attr-defined]
    return relay


def drawing(data: bytes, pieces: Callable[[], int] = lambda: 100_000) -> Script:
    """Open, send ``data`` in pieces, then stay."""

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        at = 0
        while at < len(data):
            size = pieces()
            end.writer.write(data[at : at + size])
            at += size
            await end.writer.drain()
        await end.reader.read()

    return script


async def digest(browser: BrowserEnd, size: int, each: int = 1 << 16) -> str:
    """The hash of the next ``size`` bytes on the wire: frames included, and nothing between them."""
    seen = hashlib.sha256()
    while size:
        data = await browser.reader.read(min(size, each))
        assert data, "closed"
        seen.update(data)
        size -= len(data)
    return seen.hexdigest()


# --- the bulk


@pytest.mark.gen_test
async def test_megabytes_both_ways_at_once_arrive_as_they_were_sent(way: dict[str, Any]) -> None:
    data, typed = picture(5_000_000), keys(40_000)
    arrived = asyncio.get_running_loop().create_future()

    async def script(end: ProxmoxEnd) -> None:
        await end.open()

        async def listen() -> None:
            arrived.set_result(hashlib.sha256(await end.read(len(typed))).hexdigest())

        listening = asyncio.ensure_future(listen())
        for at in range(0, len(data), 77_777):
            end.writer.write(data[at : at + 77_777])
            await end.writer.drain()
        await listening
        await end.reader.read()

    async with console_bench(script, **way) as bench:
        browser = await bench.open()
        sending = asyncio.ensure_future(type_in_frames(browser, typed))
        assert await digest(browser, len(data)) == hashlib.sha256(data).hexdigest()
        await sending
        assert await arrived == hashlib.sha256(typed).hexdigest()
        browser.close()
        assert await bench.rows.reason() == "closed"
        assert bench.rows.rows[0]["to_upstream"] == len(typed)


async def type_in_frames(browser: BrowserEnd, data: bytes) -> None:
    """Send messages in frames that do not agree with them, some in fragments."""
    chance, at = random.Random(3), 0
    while at < len(data):
        size = chance.choice((1, 7, 8, 64, 1000, 5000))
        piece = data[at : at + size]
        if chance.random() < 0.2:
            middle = len(piece) // 2
            head = bytearray(frames.client_frame(BINARY, piece[:middle]))
            head[0] &= 0x7F
            browser.writer.write(bytes(head))
            browser.send(b"between", PONG)
            browser.send(piece[middle:], CONTINUATION)
        else:
            browser.send(piece)
        at += size
        await browser.writer.drain()


@pytest.mark.gen_test
async def test_a_slow_reader_gets_everything_and_little_is_kept_for_it(way: dict[str, Any]) -> None:
    """Then silence: nothing may be left behind in a buffer that only further bytes would move."""
    data = picture(9_000_000)
    async with console_bench(drawing(data), **way) as bench:
        browser = await bench.open()
        relay, most, paused = relay_of(bench), 0, 0
        browser.writer.transport.pause_reading()
        while relay.full_since is None:
            await asyncio.sleep(0)
        browser.writer.transport.resume_reading()
        seen, left = hashlib.sha256(), len(data)
        while left:
            piece = await browser.reader.read(min(left, 40_000))
            seen.update(piece)
            left -= len(piece)
            most = max(most, relay.client.transport.get_write_buffer_size())
            paused += not relay.upstream.transport.is_reading()
        assert seen.hexdigest() == hashlib.sha256(data).hexdigest()
        assert paused, "it was not slow"
        assert most <= HIGH_WATER + SIZE


@pytest.mark.gen_test
async def test_a_writer_that_floods_is_held_back(way: dict[str, Any]) -> None:
    typed, read_on = pastes(7_000_000), asyncio.Event()
    arrived = asyncio.get_running_loop().create_future()

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        end.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await read_on.wait()
        end.writer.transport.resume_reading()  # type: ignore[attr-defined]
        arrived.set_result(hashlib.sha256(await end.read(len(typed))).hexdigest())

    async with console_bench(script, **way) as bench:
        browser = await bench.open()
        sending = asyncio.ensure_future(flood(browser, typed))
        relay = relay_of(bench)
        while not relay.upstream_full:
            await asyncio.sleep(0)
        assert not relay.client.transport.is_reading()
        held = relay.bytes_to_upstream
        for _ in range(50):
            await asyncio.sleep(0)
        assert relay.bytes_to_upstream == held, "a turn that was due reads on"
        assert relay.upstream.transport.get_write_buffer_size() < 200_000
        read_on.set()
        await sending
        assert await arrived == hashlib.sha256(typed).hexdigest()


async def flood(browser: BrowserEnd, data: bytes) -> None:
    for at in range(0, len(data), 16_000):
        browser.send(data[at : at + 16_000])
        await browser.writer.drain()


@pytest.mark.gen_test
async def test_a_flood_and_a_gush_hold_up_nobody_elses_keystroke() -> None:
    async with console_bench(echo) as bench, asyncio.TaskGroup() as group:
        flooding, typing = await bench.open(), await bench.open()
        sending = group.create_task(flood(flooding, keys(25_000) * 5))
        reading = group.create_task(digest(flooding, 1 << 40))
        for _ in range(10):
            typing.send(KEY)
            assert await typing.payload() == KEY
        sending.cancel()
        reading.cancel()


@pytest.mark.gen_test
async def test_proxmox_ends_while_much_is_still_on_its_way_to_the_browser(way: dict[str, Any]) -> None:
    """The last picture arrives, then the reason."""
    data = picture(3_000_000, seed=9)

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        end.writer.write(data)

    async with console_bench(script, **way) as bench:
        browser = await bench.open()
        assert await digest(browser, len(data)) == hashlib.sha256(data).hexdigest()
        assert await browser.closed() == (4000, problems.UPSTREAM_CLOSED)


# --- byte by byte


async def dribble(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0)


@pytest.mark.gen_test
async def test_peers_that_send_a_byte_at_a_time(way: dict[str, Any]) -> None:
    parts = [frames.server_frame(BINARY, bytes((size % 251,)) * size) for size in (0, 1, 125, 126, 127, 300)]
    parts.insert(3, frames.server_frame(PING, b"in between"))
    typed = keys(12)

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        await dribble(end.writer, b"".join(parts))
        assert await end.read(len(typed)) == typed
        assert end.controls == [frames.Control(PONG, b"in between")]
        end.write(b"done")
        await end.reader.read()

    async with console_bench(script, **way) as bench:
        browser = await bench.open()
        await dribble(browser.writer, b"".join(frames.client_frame(BINARY, typed[at:][:5]) for at in range(0, 96, 5)))
        wanted = b"".join(part for part in parts if part[0] == 0x82) + frames.server_frame(BINARY, b"done")
        assert await browser.reader.readexactly(len(wanted)) == wanted


@pytest.mark.gen_test
async def test_frames_split_anywhere(way: dict[str, Any]) -> None:
    data, chance = picture(400_000, seed=5), random.Random(6)
    async with console_bench(drawing(data, lambda: chance.choice((1, 2, 3, 5, 9, 100, 3000, 70_000))), **way) as bench:
        browser = await bench.open()
        assert await digest(browser, len(data)) == hashlib.sha256(data).hexdigest()
