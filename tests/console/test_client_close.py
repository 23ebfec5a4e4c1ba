"""The closing handshake with a browser (RFC 6455, 7), whoever begins it and in whatever place of the stream."""

from __future__ import annotations

import asyncio

import pytest

from cyberlab.console import client, frames
from cyberlab.console.frames import BINARY, CLOSE, TEXT
from cyberlab.console.tracker import FrameTracker
from tests.console.ends import BrowserEnd
from tests.console.test_client import Recorder, linked

pytestmark = pytest.mark.usefixtures("transport")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever counts on the grace of the closing handshake waits until the test times out."""
    monkeypatch.setattr(client, "CLOSE_GRACE", 600.0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace is over at once."""
    monkeypatch.setattr(client, "CLOSE_GRACE", 0.02)


@pytest.mark.parametrize(
    ("sent", "echoed"), [(b"", 1000), (b"\x03\xe8", 1000), (b"\x03\xe9bye", 1001), (b"\x0f\xa1", 4001)]
)
@pytest.mark.usefixtures("patient")
@pytest.mark.gen_test
async def test_the_browsers_close_is_answered_and_the_server_hangs_up_first(sent: bytes, echoed: int) -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        browser.send(sent, CLOSE)
        browser.send(b"what comes after a close frame is not looked at")
        assert await browser.payload(CLOSE) == echoed.to_bytes(2, "big")
        assert await browser.reader.read() == b"", "RFC 6455, 7.1.1"
        await relay.lost.wait()
        assert relay.told == ["closing", "lost"]
        assert relay.payload == b""


@pytest.mark.usefixtures("patient")
@pytest.mark.gen_test
async def test_our_close_is_answered_by_the_browser() -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        link.close(4000, "unassigned")
        browser.send(b"still on its way")
        assert await browser.closed() == (4000, "unassigned")
        assert await browser.reader.read() == b""
        await relay.lost.wait()
        assert relay.payload == b""


@pytest.mark.parametrize(
    ("sent", "code"), [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x03\xe8\xff", 1007), (b"\xff\xff", 1002)]
)
@pytest.mark.usefixtures("patient")
@pytest.mark.gen_test
async def test_a_close_frame_that_breaks_the_rules_is_one_all_the_same(sent: bytes, code: int) -> None:
    async with linked() as (_, browser):
        browser.send(sent, CLOSE)
        assert (await browser.payload(CLOSE))[:2] == code.to_bytes(2, "big")
        assert await browser.reader.read() == b"", "the browser says no more: the server hangs up"


@pytest.mark.usefixtures("patient")
@pytest.mark.gen_test
async def test_a_browser_that_broke_the_rules_and_goes_on_talking_still_reads_why() -> None:
    """Closing with its bytes unread would send a reset, which may overtake our close frame."""
    async with linked() as (link, browser):
        relay = Recorder(link)
        browser.send(b"text", TEXT)
        while not relay.told:
            await asyncio.sleep(0)
        browser.writer.write(b"GET / HTTP/1.1\r\n\r\n" * 5000)
        link.close(1003, "client-protocol")
        browser.writer.write(b"GET / HTTP/1.1\r\n\r\n" * 5000)
        await browser.writer.drain()
        assert await browser.payload(CLOSE) == b"\x03\xebclient-protocol"
        assert await browser.reader.read() == b"", "the server hangs up first"
        assert not link.lost
        browser.close()
        await relay.lost.wait()
        assert relay.told == [1003, "closing", "lost"]


@pytest.mark.parametrize("answer", [b"\x03", b"\x00\x00", b"\x03\xe8\xff"])
@pytest.mark.usefixtures("patient")
@pytest.mark.gen_test
async def test_any_answer_to_our_close_is_one(answer: bytes) -> None:
    async with linked() as (link, browser):
        link.close(4000, "x")
        await browser.payload(CLOSE)
        browser.send(answer, CLOSE)
        assert await browser.reader.read() == b""


@pytest.mark.usefixtures("hasty")
@pytest.mark.gen_test
async def test_a_browser_that_never_answers_is_dropped() -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        link.close(4000, "x")
        await relay.lost.wait()
        assert await browser.payload(CLOSE) == b"\x0f\xa0x"


@pytest.mark.parametrize("closer", ["browser", "server"])
@pytest.mark.usefixtures("hasty")
@pytest.mark.gen_test
async def test_a_browser_that_does_not_read_the_rest_is_dropped(closer: str) -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        browser.writer.transport.pause_reading()
        while True not in relay.told:
            link.send_binary(bytes(60_000))
        if closer == "server":
            link.close(4000, "x")
        else:
            browser.send(b"", CLOSE)
        await relay.lost.wait()


def mid_frame(link: object, browser: BrowserEnd) -> FrameTracker:
    tracker = FrameTracker()
    tracker.remaining = 4
    link.tracker = tracker  # type: ignore[attr-defined]
    link.transport.write(frames.header(BINARY, 6) + b"ab")  # type: ignore[attr-defined]
    return tracker


@pytest.mark.parametrize("both", [False, True], ids=["one side", "both sides at once"])
@pytest.mark.usefixtures("patient")
@pytest.mark.gen_test
async def test_in_the_middle_of_a_frame_the_close_waits_for_its_end(both: bool) -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        tracker = mid_frame(link, browser)
        if both:
            link.close(4000, "x")
        browser.send(b"\x03\xe8", CLOSE)
        while not link.waiting or not browser_has_been_heard(link):
            await asyncio.sleep(0)
        assert relay.told == []
        link.transport.write(b"cdef")
        tracker.remaining = 0
        link.fill_gap()
        assert await browser.payload() == b"abcdef"
        assert await browser.payload(CLOSE) == (b"\x0f\xa0x" if both else b"\x03\xe8")
        assert await browser.reader.read() == b""


def browser_has_been_heard(link: object) -> bool:
    return bool(link._closed_by_browser)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("hasty")
@pytest.mark.gen_test
async def test_a_frame_that_never_ends_does_not_hold_up_the_end() -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        mid_frame(link, browser)
        link.close(4000, "x")
        await relay.lost.wait()
        assert relay.told == ["lost"]
        link.fill_gap()  # the gap comes too late: nothing breaks
        link.send(b"late")
        link.close(4000, "late")


@pytest.mark.usefixtures("patient")
@pytest.mark.gen_test
async def test_a_browser_that_closes_its_half_and_reads_no_more_has_gone() -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        browser.writer.transport.pause_reading()
        while True not in relay.told:
            link.send_binary(bytes(60_000))
        browser.writer.write_eof()
        await relay.lost.wait()
