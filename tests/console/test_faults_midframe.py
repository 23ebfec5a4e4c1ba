"""Control frames, closes and cuts in the middle of a large frame, from either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.console import frames
from cyberlab.console.frames import BINARY, CLOSE, CONTINUATION, PING, PONG
from tests.console.conftest import Bench, console_bench
from tests.console.ends import BrowserEnd, ProxmoxEnd
from tests.console.test_faults import relay_of
from tests.console.test_session import KEY, stay

pytestmark = pytest.mark.usefixtures("transport")


@asynccontextmanager
async def in_the_middle(
    way: dict[str, Any], after: bytes = b""
) -> AsyncIterator[tuple[Bench, BrowserEnd, asyncio.Event, ProxmoxEnd]]:
    """A browser that has half of a frame of 100,000 bytes; the event lets the other half come."""
    go_on = asyncio.Event()
    frame = frames.server_frame(BINARY, bytes(100_000))

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        end.writer.write(frame[:50_000])
        await go_on.wait()
        end.writer.write(frame[50_000:] + after)
        await end.read(1 << 20)

    async with console_bench(script, **way) as bench:
        browser = await bench.open()
        assert await browser.reader.readexactly(50_000) == frame[:50_000]
        yield bench, browser, go_on, bench.proxmox.ends[0]


async def rest_of_the_frame(browser: BrowserEnd) -> bytes:
    return await browser.reader.readexactly(100_010 - 50_000)


@pytest.mark.gen_test
async def test_a_browsers_ping_is_answered_behind_the_frame(way: dict[str, Any]) -> None:
    async with in_the_middle(way, frames.server_frame(BINARY, b"next")) as (bench, browser, go_on, _):
        for index in range(3):
            browser.send(b"%d" % index, PING)
        while len(relay_of(bench).client._queue) < 3:
            await asyncio.sleep(0)
        go_on.set()
        assert await rest_of_the_frame(browser) == bytes(50_010)
        assert [await browser.frame() for _ in range(3)] == [(PONG, b"%d" % index) for index in range(3)]
        assert await browser.payload() == b"next"


@pytest.mark.gen_test
async def test_a_browser_closes_in_the_middle_of_a_frame(way: dict[str, Any]) -> None:
    async with in_the_middle(way, frames.server_frame(BINARY, b"next")) as (bench, browser, go_on, _):
        browser.send(b"\x03\xe9", CLOSE)
        while not relay_of(bench).client.ending:
            await asyncio.sleep(0)
        go_on.set()
        assert await rest_of_the_frame(browser) == bytes(50_010)
        assert await browser.frame() == (CLOSE, b"\x03\xe9")
        assert await browser.reader.read() == b""
        assert await bench.rows.reason() == "closed"


@pytest.mark.gen_test
async def test_proxmoxs_pings_between_fragments_are_answered_and_not_passed_on(way: dict[str, Any]) -> None:
    pieces = [frames.header(BINARY, 3, fin=False) + b"abc", frames.header(CONTINUATION, 70_000) + bytes(70_000)]

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        end.writer.write(pieces[0] + frames.server_frame(PING, b"?") + frames.server_frame(PONG, b"!") + pieces[1])
        await end.read(8)
        assert end.controls == [frames.Control(PONG, b"?")]
        end.write(b"good")
        await end.reader.read()

    async with console_bench(script, **way) as bench:
        browser = await bench.open()
        browser.send(KEY)
        wanted = b"".join(pieces) + frames.server_frame(BINARY, b"good")
        assert await browser.reader.readexactly(len(wanted)) == wanted


@pytest.mark.parametrize("how", ["reset", "half-close", "close"])
@pytest.mark.gen_test
async def test_proxmox_is_cut_off_in_the_middle_of_a_frame(how: str, way: dict[str, Any]) -> None:
    async with in_the_middle(way) as (bench, browser, _, end):
        if how == "reset":
            end.writer.transport.abort()
        elif how == "half-close" and end.writer.can_write_eof():
            end.writer.write_eof()
        else:
            end.writer.close()
        assert await browser.reader.read() == b"", "nothing may stand within the frame"
        assert await bench.rows.reason() == problems.UPSTREAM_CLOSED


@pytest.mark.parametrize("how", ["reset", "half-close", "close"])
@pytest.mark.gen_test
async def test_a_browser_is_cut_off_in_the_middle_of_its_frame(how: str, way: dict[str, Any]) -> None:
    let_go = asyncio.Event()

    async def script(end: ProxmoxEnd) -> None:
        try:
            await stay(end)
        finally:
            let_go.set()

    async with console_bench(script, **way) as bench:
        browser = await bench.open()
        browser.writer.write(frames.client_frame(BINARY, KEY + KEY)[:-3])
        await browser.writer.drain()
        while relay_of(bench).bytes_to_upstream < 8:
            await asyncio.sleep(0)
        if how == "reset":
            browser.writer.transport.abort()
        elif how == "half-close":
            browser.writer.write_eof()
        else:
            browser.close()
        await let_go.wait()
        assert await bench.rows.reason() == "closed"
        assert bench.rows.rows[0]["to_upstream"] == 8, "what was whole has gone through"
