"""What keeps an open console alive, what gives up on a dead one, and what a view-only one may not do."""

from __future__ import annotations

import asyncio

import pytest

from cyberlab import problems
from cyberlab.console import frames, rfb
from cyberlab.console.client import HIGH_WATER
from cyberlab.console.frames import BINARY, PING, PONG
from cyberlab.console.session import Limits
from tests.console.conftest import Bench, console_bench
from tests.console.ends import SERVER_INIT, BrowserEnd, ProxmoxEnd
from tests.console.test_session import KEY, stay

FAR = 3600.0


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


async def pings(browser: BrowserEnd, count: int) -> None:
    """Answer that many pings."""
    for _ in range(count):
        browser.send(await browser.payload(PING), PONG)


@pytest.mark.gen_test(timeout=5)
async def test_a_quiet_console_is_kept_open_on_both_sides() -> None:
    """`qm vncproxy` leaves after 15 minutes without a byte of RFB; a websocket ping does not reach it."""
    heard = Heard()
    async with console_bench(heard.script, limits=Limits(ping=0.03, upstream_keepalive=0.0)) as bench:
        browser = await bench.open()
        await pings(browser, 3)
        assert (await heard.has(20)).startswith(rfb.KEEPALIVE * 2)
        assert bench.rows.rows == [{"vm": "demo/100 kali"}], "it stays open"


@pytest.mark.gen_test(timeout=5)
async def test_a_busy_console_needs_no_nudge() -> None:
    heard = Heard()
    async with console_bench(heard.script, limits=Limits(ping=0.03, upstream_keepalive=FAR)) as bench:
        browser = await bench.open()
        await pings(browser, 3)
        browser.send(KEY)
        assert await heard.has(8) == KEY


@pytest.mark.gen_test(timeout=5)
async def test_no_message_of_ours_stands_within_one_of_the_browsers() -> None:
    heard = Heard()
    async with console_bench(heard.script, limits=Limits(ping=0.03, upstream_keepalive=0.0)) as bench:
        browser = await bench.open()
        await heard.has(10)
        browser.send(KEY[:5])
        await pings(browser, 3)
        before = heard.payload
        browser.send(KEY[5:])
        after = (await heard.has(len(before) + 18))[len(before) :]
        assert before == rfb.KEEPALIVE * (len(before) // 10)
        assert after[:18] == KEY + rfb.KEEPALIVE


@pytest.mark.gen_test(timeout=5)
async def test_pings_go_between_the_frames_of_the_picture() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    picture = frames.server_frame(BINARY, bytes(range(256)) * 300)

    async def script(end: ProxmoxEnd) -> None:
        await end.open()
        end.writer.write(picture[:1000])
        begun.set()
        await go_on.wait()
        end.writer.write(picture[1000:] + frames.server_frame(BINARY, b"next"))
        await end.reader.read()

    async with console_bench(script, limits=Limits(ping=0.3)) as bench:
        browser = await bench.open()
        seen = await browser.reader.readexactly(1000)
        link = next(iter(bench.gateway.registry)).close.__self__._client  # type: ignore[attr-defined]
        while not link.waiting:
            await asyncio.sleep(0)
        go_on.set()
        assert seen + await browser.reader.readexactly(len(picture) - 1000) == picture
        assert (await browser.frame())[0] == PING
        assert await browser.payload() == b"next"


@pytest.mark.gen_test(timeout=5)
async def test_a_browser_that_answers_no_ping_is_not_there() -> None:
    async with console_bench(stay, limits=Limits(ping=0.03)) as bench:
        await bench.open()
        assert await bench.rows.reason() == "closed"


@pytest.mark.gen_test(timeout=5)
async def test_a_browser_that_sends_something_is() -> None:
    async with console_bench(stay, limits=Limits(ping=0.03)) as bench:
        browser = await bench.open()
        for _ in range(8):
            await browser.payload(PING)
            browser.send(KEY)  # no pong, but a sign of life
        assert bench.rows.rows == [{"vm": "demo/100 kali"}]


# --- a browser that stops reading


async def gushing(end: ProxmoxEnd) -> None:
    await end.open()
    end.writer.transport.set_write_buffer_limits(high=1 << 16)
    while True:
        end.write(bytes(16_000))
        await end.writer.drain()


async def stuck(bench: Bench) -> tuple[BrowserEnd, object]:
    """A browser that has stopped reading, and its console's relay once its buffer is full."""
    browser = await bench.open()
    browser.writer.transport.pause_reading()
    relay = next(iter(bench.gateway.registry)).close.__self__._relay  # type: ignore[attr-defined]
    while relay.full_since is None:
        await asyncio.sleep(0)
    return browser, relay


@pytest.mark.usefixtures("transport")
@pytest.mark.gen_test(timeout=15)
async def test_a_browser_that_stops_reading_is_closed_after_a_while() -> None:
    """Held back longer, pveproxy's memory would grow: it buffers without limit (proxmox.md, f)."""
    async with console_bench(gushing, limits=Limits(ping=0.6, stuck=0.2)) as bench:
        _, relay = await stuck(bench)
        assert not relay.upstream.transport.is_reading(), "nothing more is read from Proxmox"
        # What was read in this turn may lie above the mark, no more.
        assert HIGH_WATER < relay.client.transport.get_write_buffer_size() <= HIGH_WATER + 65_536
        assert await bench.rows.reason() == problems.CLIENT_STUCK


@pytest.mark.usefixtures("transport")
@pytest.mark.gen_test(timeout=15)
async def test_a_browser_that_only_reads_slowly_is_not() -> None:
    async with console_bench(gushing, limits=Limits(ping=0.6, stuck=0.2)) as bench:
        browser, relay = await stuck(bench)
        browser.writer.transport.resume_reading()
        while relay.full_since is not None:
            await browser.frame()
        assert relay.upstream.transport.is_reading()
        assert "reason" not in bench.rows.rows[0]


# --- view only


@pytest.mark.gen_test(timeout=5)
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
