"""What keeps an open console alive, what gives up on a dead one, and what a view-only one may not do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.console import frames, rfb
from cyberlab.console.client import HIGH_WATER
from cyberlab.console.fairness import SIZE
from cyberlab.console.frames import BINARY, PING, PONG
from cyberlab.console.session import Limits
from tests.console.conftest import Bench, console_bench
from tests.console.ends import SERVER_INIT, BrowserEnd, ProxmoxEnd
from tests.console.test_session import KEY, stay

SELDOM = 10_000.0  # seconds between pings, so that only what is looked at happens


def look(bench: Bench, later: float) -> None:
    """Have the wheel look at every console, so many seconds from now."""
    now = asyncio.get_running_loop().time() + later
    for member in [member for spoke in bench.gateway.wheel._spokes for member in spoke]:
        member(now)


def session_of(bench: Bench) -> Any:
    return next(iter(bench.gateway.registry)).close.__self__  # type: ignore[attr-defined]


class Heard:
    """What Proxmox's end has read so far."""

    def __init__(self) -> None:
        self.payload = b""
        self.more = asyncio.Event()

    async def script(self, end: ProxmoxEnd) -> None:
        await end.open()
        while True:
            self.payload += await end.read(1)
            self.more.set()

    async def has(self, size: int) -> bytes:
        while len(self.payload) < size:
            self.more.clear()
            await self.more.wait()
        return self.payload


@pytest.mark.gen_test
async def test_the_wheel_turns_by_itself() -> None:
    async with console_bench(stay, limits=Limits(ping=0.2)) as bench:
        browser = await bench.open()
        for _ in range(2):
            browser.send(await browser.payload(PING), PONG)


@pytest.mark.gen_test
async def test_a_quiet_console_is_kept_open_on_both_sides() -> None:
    """`qm vncproxy` leaves after 15 minutes without a byte of RFB; a websocket ping does not reach it."""
    heard = Heard()
    async with console_bench(heard.script, limits=Limits(ping=SELDOM)) as bench:
        browser = await bench.open()
        look(bench, 301)
        assert await browser.payload(PING) == b""
        assert await heard.has(10) == rfb.KEEPALIVE
        look(bench, 301)  # said just now, as the clock has it: not again
        browser.send(KEY)
        assert await heard.has(18) == rfb.KEEPALIVE + KEY


@pytest.mark.gen_test
async def test_a_busy_console_needs_no_nudge() -> None:
    heard = Heard()
    async with console_bench(heard.script, limits=Limits(ping=SELDOM)) as bench:
        browser = await bench.open()
        look(bench, 299)
        assert await browser.payload(PING) == b""
        browser.send(KEY)
        assert await heard.has(8) == KEY


@pytest.mark.gen_test
async def test_no_message_of_ours_stands_within_one_of_the_browsers() -> None:
    heard = Heard()
    async with console_bench(heard.script, limits=Limits(ping=SELDOM)) as bench:
        browser = await bench.open()
        browser.send(KEY[:5])
        while session_of(bench)._relay._messages.between:
            await asyncio.sleep(0)
        look(bench, 301)
        browser.send(KEY[5:])
        assert await heard.has(8) == KEY
        look(bench, 602)
        assert await heard.has(18) == KEY + rfb.KEEPALIVE


@pytest.mark.gen_test
async def test_pings_go_between_the_frames_of_the_picture() -> None:
    go_on = asyncio.Event()
    picture = frames.server_frame(BINARY, bytes(range(256)) * 300)

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        end.writer.write(picture[:1000])
        await go_on.wait()
        end.writer.write(picture[1000:] + frames.server_frame(BINARY, b"next"))
        await end.reader.read()

    async with console_bench(script) as bench:
        browser = await bench.open()
        seen = await browser.reader.readexactly(1000)
        look(bench, 1)
        assert session_of(bench)._client.waiting
        go_on.set()
        assert seen + await browser.reader.readexactly(len(picture) - 1000) == picture
        assert (await browser.frame())[0] == PING
        assert await browser.payload() == b"next"


@pytest.mark.gen_test
async def test_a_browser_that_answers_no_ping_is_not_there() -> None:
    async with console_bench(stay) as bench:
        browser = await bench.open()
        look(bench, 89)
        assert await browser.frame() == (PING, b"")
        look(bench, 91)
        assert await bench.rows.reason() == "closed"


@pytest.mark.parametrize(("sent", "opcode"), [(KEY, BINARY), (b"", PONG), (b"", PING)])
@pytest.mark.gen_test
async def test_a_browser_that_sends_something_is(sent: bytes, opcode: int) -> None:
    async with console_bench(stay) as bench:
        browser = await bench.open()
        client = session_of(bench)._client
        client.heard_at -= 100
        silent_since = client.heard_at
        browser.send(sent, opcode)
        while client.heard_at == silent_since:
            await asyncio.sleep(0)
        look(bench, 1)
        while (await browser.frame())[0] != PING:
            pass
        assert bench.rows.rows == [{"vm": "demo/100 kali"}], "it stays open"


# --- a browser that stops reading


async def gushing(end: ProxmoxEnd) -> None:
    await end.open()
    end.writer.transport.set_write_buffer_limits(high=1 << 16)
    while True:
        end.write(bytes(16_000))
        await end.writer.drain()


async def stuck(bench: Bench) -> tuple[BrowserEnd, Any]:
    """A browser that has stopped reading, and its console's relay once its buffer is full."""
    browser = await bench.open()
    browser.writer.transport.pause_reading()
    relay = session_of(bench)._relay
    while relay.full_since is None:
        await asyncio.sleep(0)
    return browser, relay


@pytest.mark.usefixtures("transport")
@pytest.mark.gen_test
async def test_a_browser_that_stops_reading_is_closed_after_a_while() -> None:
    """Held back longer, pveproxy's memory would grow: it buffers without limit (proxmox.md, f)."""
    async with console_bench(gushing) as bench:
        _, relay = await stuck(bench)
        assert not relay.upstream.transport.is_reading(), "nothing more is read from Proxmox"
        # What was read in this turn may lie above the mark, no more.
        assert HIGH_WATER < relay.client.transport.get_write_buffer_size() <= HIGH_WATER + SIZE
        look(bench, 59)
        assert not relay.ended.done()
        look(bench, 61)
        assert await bench.rows.reason() == problems.CLIENT_STUCK


@pytest.mark.usefixtures("transport")
@pytest.mark.gen_test
async def test_a_browser_that_only_reads_slowly_is_not() -> None:
    async with console_bench(gushing) as bench:
        browser, relay = await stuck(bench)
        browser.writer.transport.resume_reading()
        while relay.full_since is not None:
            await browser.frame()
        assert relay.upstream.transport.is_reading()
        look(bench, 61)
        assert "reason" not in bench.rows.rows[0]


# --- view only


@pytest.mark.gen_test
async def test_a_view_only_console_passes_no_input_whatever_the_page_does() -> None:
    heard = Heard()
    request = b"\x03\x01\0\0\0\0\x02\x80\x01\x90"
    async with console_bench(heard.script, view_only=True) as bench:
        browser = await bench.browser()
        assert await browser.handshake() == SERVER_INIT
        browser.send(KEY + b"\x05\x01\0\x0a\0\x0a" + request[:4])
        browser.send(request[4:] + b"\x06\0\0\0\0\0\0\x02rm")
        browser.send(b"\xff\0\0\1\0\0\0a\0\0\0\x1e" + request)
        assert await heard.has(20) == request * 2
        browser.close()
        assert await bench.rows.reason() == "closed"
        assert bench.rows.rows[0]["to_upstream"] == 20
