"""The browser's end on a real socket, without a gateway: the inbox, control frames, the closing handshake."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cyberlab.console import client, frames, transports
from cyberlab.console.client import HIGH_WATER, ClientClosed, ClientLink, RelayEnd
from cyberlab.console.frames import BINARY, CLOSE, PING, PONG, TEXT
from cyberlab.console.tracker import FrameTracker
from tests.console.ends import BrowserEnd

pytestmark = pytest.mark.usefixtures("transport")


@asynccontextmanager
async def linked(**arguments: object) -> AsyncIterator[tuple[ClientLink, BrowserEnd]]:
    """A link and the browser at its other end, with little room on the way; afterwards both sockets are closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.socket()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        near.connect(server.getsockname())
        sock, _ = server.accept()
    reader, writer = await asyncio.open_connection(sock=near, limit=1 << 22)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
    sock.setblocking(False)
    link = ClientLink(**arguments)  # type: ignore[arg-type]
    lost = asyncio.Event()
    link.on_lost = lost.set
    await transports.adopt(lambda: link, sock)
    try:
        yield link, BrowserEnd(reader, writer)
    finally:
        writer.close()
        link.abort()
        await lost.wait()


class Recorder(RelayEnd):
    """A relay that writes down what it is told."""

    def __init__(self, link: ClientLink) -> None:
        self.told: list[object] = []
        self.payload = b""
        self.lost = asyncio.Event()
        link.relay = self

    def from_client(self, payload: bytes) -> None:
        self.payload += payload

    def client_full(self, full: bool) -> None:
        self.told.append(full)

    def client_lost(self) -> None:
        self.told.append("lost")
        self.lost.set()

    def client_closing(self) -> None:
        self.told.append("closing")

    def client_broke_rules(self, code: int, why: str) -> None:
        self.told.append(code)


# --- the inbox


@pytest.mark.gen_test
async def test_what_the_web_server_had_read_comes_first() -> None:
    sent = frames.client_frame(BINARY, b"RFB 003.008\n")
    async with linked(leftover=sent[:-3]) as (link, browser):
        browser.writer.write(sent[-3:] + frames.client_frame(BINARY, b"\x01\x00"))
        assert await link.receive(12) == b"RFB 003.008\n"
        assert await link.receive(1) == b"\x01"
        assert link.take_inbox() in (b"", b"\x00")


@pytest.mark.gen_test
async def test_a_handshake_byte_by_byte_in_fragments() -> None:
    async with linked() as (link, browser):
        for index in range(12):
            data = frames.client_frame(BINARY if index == 0 else frames.CONTINUATION, b"RFB 003.008\n"[index:][:1])
            for byte in bytes((data[0] & (0xFF if index == 11 else 0x7F),)) + data[1:]:
                browser.writer.write(bytes((byte,)))
                await asyncio.sleep(0)
        assert await link.receive(12) == b"RFB 003.008\n"


@pytest.mark.parametrize("how", ["close", "reset", "close frame"])
@pytest.mark.gen_test
async def test_a_browser_that_leaves_ends_the_wait_for_it(how: str) -> None:
    async with linked() as (link, browser):
        waiting = asyncio.ensure_future(link.receive(12))
        await asyncio.sleep(0)
        if how == "close":
            browser.close()
        elif how == "reset":
            browser.writer.transport.abort()
        else:
            browser.send(b"", CLOSE)
        with pytest.raises(ClientClosed):
            await waiting
        assert link.end_reason == client.WENT_AWAY


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.client_frame(TEXT, b"hello"), 1003),
        (frames.client_frame(BINARY, bytes(4097)), 1009),
        (frames.client_frame(BINARY, bytes(2000)) * 3, 1009),
        (frames.client_frame(BINARY, bytes(70_000)), 1009),
        (frames.server_frame(BINARY, b"x"), 1002),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
    ids=["text", "a large inbox", "a large inbox in frames", "a large frame", "not masked", "no frame at all"],
)
@pytest.mark.gen_test
async def test_before_the_relay_a_broken_rule_closes(data: bytes, code: int) -> None:
    async with linked(max_frame=65_536) as (link, browser):
        browser.writer.write(data)
        assert await browser.closed() == (code, "client-protocol")
        with pytest.raises(ClientClosed):
            await link.receive(1 << 20)
        assert link.end_reason == "client-protocol"


@pytest.mark.gen_test
async def test_with_a_relay_a_broken_rule_is_the_relays_to_tell() -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        browser.send(b"good")
        browser.send(b"text", TEXT)
        browser.send(b"", PING)
        browser.close()
        await relay.lost.wait()
        assert relay.payload == b"good"
        assert relay.told == [1003, "lost"]


# --- control frames


@pytest.mark.gen_test
async def test_a_ping_is_answered_and_a_pong_is_not() -> None:
    async with linked() as (link, browser):
        browser.send(b"unasked", PONG)
        browser.send(b"one", PING)
        browser.send(b"", PING)
        assert await browser.frame() == (PONG, b"one")
        assert await browser.frame() == (PONG, b"")
        link.ping()
        assert await browser.frame() == (PING, b"")


@pytest.mark.gen_test
async def test_frames_of_our_own_wait_for_a_gap_and_the_newest_pongs_count() -> None:
    async with linked(events=True) as (link, browser):
        Recorder(link)
        link.tracker = FrameTracker()
        link.tracker.remaining = 3
        link.transport.write(frames.header(BINARY, 5) + b"ab")
        for index in range(40):
            link.send(frames.server_frame(PONG, b"%d" % index))
        link.send_event(event="end")
        link.close(4000, "bye")
        assert link.waiting
        link.transport.write(b"cde")
        link.tracker.remaining = 0
        link.fill_gap()
        assert await browser.payload() == b"abcde"
        pongs = [await browser.payload(PONG) for _ in range(14)]
        assert pongs == [b"%d" % index for index in range(26, 40)]
        assert await browser.payload(TEXT) == b'{"event": "end"}'
        assert await browser.closed() == (4000, "bye")


@pytest.mark.gen_test
async def test_pings_without_end_from_a_browser_that_does_not_read() -> None:
    """Answers must not pile up here: only the newest ping needs one (RFC 6455, 5.5.3)."""
    async with linked() as (link, browser):
        relay = Recorder(link)
        browser.writer.transport.pause_reading()
        ping = frames.client_frame(PING, bytes(125))
        while True not in relay.told:
            browser.writer.write(ping * 500)
            await browser.writer.drain()
        full = link.transport.get_write_buffer_size()
        for index in range(30):
            browser.writer.write(ping * 500 + frames.client_frame(PING, b"%d" % index))
            await browser.writer.drain()
        browser.send(b"mark")
        while relay.payload != b"mark":
            await asyncio.sleep(0)
        assert link.transport.get_write_buffer_size() == full < HIGH_WATER + 20_000
        browser.writer.transport.resume_reading()
        while await browser.payload(PONG) != b"29":
            pass
        assert False in relay.told


@pytest.mark.gen_test
async def test_events_go_to_a_page_that_asked_and_never_after_the_close_frame() -> None:
    async with linked() as (link, browser):
        link.send_event(event="step")
        link.close(1000, "")
        assert await browser.closed() == (1000, "")
    async with linked(events=True) as (link, browser):
        link.send_event(event="step", text="Füße")
        link.close(1000, "")
        link.send_event(event="end")
        link.ping()
        link.close(4000, "again")
        assert await browser.payload(TEXT) == '{"event": "step", "text": "Füße"}'.encode()
        assert await browser.closed() == (1000, "")
        assert await browser.reader.read() == b""


# --- turns


@pytest.mark.gen_test
async def test_a_flood_is_read_in_turns_and_not_while_upstream_is_full() -> None:
    async with linked() as (link, browser):
        relay = Recorder(link)
        payload = bytes(range(256)) * 4096
        sending = asyncio.ensure_future(flood(browser, payload))
        while len(relay.payload) < 200_000:
            await asyncio.sleep(0)
        relay.upstream_full = True  # as the relay does when Proxmox takes no more
        link.transport.pause_reading()
        held = len(relay.payload)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(relay.payload) == held, "a turn that was due must not read on"
        relay.upstream_full = False
        link.transport.resume_reading()
        await sending
        while len(relay.payload) < len(payload):
            await asyncio.sleep(0)
        assert relay.payload == payload


async def flood(browser: BrowserEnd, payload: bytes) -> None:
    for start in range(0, len(payload), 8192):
        browser.send(payload[start : start + 8192])
        await browser.writer.drain()
