"""The relay's order of bytes, with transports that write down what they are told: any stream, cut anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab import problems
from cyberlab.console import frames, rfb
from cyberlab.console.client import ClientLink
from cyberlab.console.frames import BINARY, CLOSE, PING, PONG, TEXT
from cyberlab.console.relay import Relay
from cyberlab.console.upstream import UpstreamLink
from tests.console.test_frames import FEW, cut

Frame = tuple[int, bytes]
KEY = b"\x04\x01\0\0\0\0\0a"


class Transport:
    """Takes everything at once; says what it took and whether it is read from."""

    def __init__(self) -> None:
        self.data = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes | memoryview) -> None:
        assert not self.closed
        self.data += bytes(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def set_write_buffer_limits(self, high: int, low: int = 0) -> None:
        """There is room."""

    def get_extra_info(self, name: str) -> None:
        """No TLS, no socket."""

    def close(self) -> None:
        self.closed = True

    abort = write_eof = close


class Ends:
    """A relay between two recorders, started with what Proxmox's end had sent before."""

    def __init__(self, early: bytes = b"", *, view_only: bool = False) -> None:
        self.client, self.upstream = ClientLink(events=True), UpstreamLink()
        self.browser, self.proxmox = Transport(), Transport()
        self.client.connection_made(self.browser)
        self.upstream.connection_made(self.proxmox)
        self.feed(early)
        self.relay = Relay(self.client, self.upstream, rfb.ClientMessages(view_only=view_only))
        self.relay.start()

    def feed(self, data: bytes) -> None:
        """Proxmox sends."""
        for start in range(0, len(data), 65_536):
            piece = data[start : start + 65_536]
            self.upstream.get_buffer(-1)[: len(piece)] = piece
            self.upstream.buffer_updated(len(piece))

    def type(self, data: bytes) -> None:
        """The browser sends."""
        for start in range(0, len(data), 16_000):
            piece = data[start : start + 16_000]
            self.client.get_buffer(-1)[: len(piece)] = piece
            self.client.buffer_updated(len(piece))

    def frames(self) -> tuple[list[Frame], bytes]:
        """The whole frames that the browser got, and what has come of the next."""
        return split(self.browser.data)

    def sent(self) -> list[Frame]:
        """The frames that Proxmox got."""
        parser = frames.ClientFrames(frames.MAX_TO_PROXMOX)
        return [(event.opcode, event.payload) for event in parser.feed(self.proxmox.data)]


def split(data: bytes) -> tuple[list[Frame], bytes]:
    out: list[Frame] = []
    while len(data) >= 2:
        assert data[0] & 0x70 == 0
        assert data[1] < 128
        start = 2 if data[1] < 126 else 4 if data[1] == 126 else 10
        size = data[1] if data[1] < 126 else int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            break
        out.append((data[0] & 0x0F, data[start : start + size]))
        data = data[start + size :]
    return out, data


def playing(play: Callable[..., None]) -> Callable[..., None]:
    """Run a test on a loop: timers and futures belong to one."""

    def run(*arguments: Any) -> None:
        async def on_loop() -> None:
            play(*arguments)

        asyncio.run(on_loop())

    run.__name__, run.__doc__ = play.__name__, play.__doc__
    return run


def stream(pieces: list[Frame]) -> bytes:
    return b"".join(frames.server_frame(opcode, payload) for opcode, payload in pieces)


PAYLOADS = st.one_of(st.binary(max_size=12), st.integers(100, 400).map(lambda size: bytes((size % 251,)) * size))
FROM_PROXMOX = st.lists(
    st.one_of(
        st.tuples(st.just(BINARY), PAYLOADS),
        st.tuples(st.just(BINARY), PAYLOADS),
        st.tuples(st.sampled_from((PING, PONG)), st.binary(max_size=125)),
    ),
    min_size=1,
    max_size=8,
)
PLACES = st.lists(st.integers(0, 4000), max_size=14)


@FEW
@given(FROM_PROXMOX, PLACES, st.lists(st.sampled_from(("none", "ping", "event", "typed ping")), max_size=15))
def test_our_frames_stand_between_proxmoxs_and_nothing_else_changes(
    pieces: list[Frame], places: list[int], ours: list[str]
) -> None:
    @playing
    def play() -> None:
        ends, parts = Ends(), cut(stream(pieces), places)
        for piece, own in zip(parts, ours + ["none"] * 16, strict=False):
            ends.feed(piece)
            if own == "ping":
                ends.client.ping()
            elif own == "event":
                ends.client.send_event(event="x")
            elif own == "typed ping":
                ends.type(frames.client_frame(PING, b"!"))
        got, rest = ends.frames()
        assert rest == b""
        wanted = [piece for piece in pieces if piece[0] == BINARY]
        assert [frame for frame in got if frame[0] == BINARY] == wanted
        used = ours[: len(parts)]
        added = [(PING, b"")] * used.count("ping") + [(PONG, b"!")] * used.count("typed ping")
        added += [(TEXT, b'{"event": "x"}')] * used.count("event")
        assert sorted(frame for frame in got if frame[0] != BINARY) == sorted(added)
        assert ends.relay.bytes_to_client == len(stream(wanted))
        # Proxmox's pings were answered, in order.
        assert ends.sent() == [(PONG, payload) for opcode, payload in pieces if opcode == PING]
        assert not ends.relay.ended.done()

    play()


@FEW
@given(FROM_PROXMOX, PLACES, st.integers(0, 15), st.sampled_from(("close", "end", "typed close")))
def test_our_close_stands_between_two_frames_and_nothing_follows_it(
    pieces: list[Frame], places: list[int], when: int, how: str
) -> None:
    @playing
    def play() -> None:
        ends, data = Ends(), stream(pieces)
        parts = cut(data, places)
        fed = b""
        for index, piece in enumerate([*parts, b""]):
            if index == when % (len(parts) + 1):
                if how == "close":
                    ends.client.close(4000, "x")
                elif how == "typed close":
                    ends.type(frames.client_frame(CLOSE, b"\x0f\xa0x"))
                else:
                    ends.relay.end(problems.UNASSIGNED)
            if piece and not ends.browser.closed:
                ends.feed(piece)
                fed += piece
        if how == "end":
            assert ends.relay.ended.result() == problems.UNASSIGNED
            assert not ends.relay.frame_is_cut, "it went on to the end of the frame"
            ends.client.close(4000, "x")
        got, rest = ends.frames()
        assert rest == b""
        assert (got[-1][0], got[-1][1][:2]) == (CLOSE, b"\x0f\xa0")
        wanted = [piece for piece in pieces if piece[0] == BINARY]
        assert got[:-1] == wanted[: len(got) - 1]
        assert ends.relay.ended.done()

    play()


@FEW
@given(FROM_PROXMOX, PLACES, st.integers(0, 4000))
def test_what_came_before_the_relay_and_after_is_one_stream(pieces: list[Frame], places: list[int], start: int) -> None:
    @playing
    def play() -> None:
        data = stream(pieces)
        at = start % (len(data) + 1)
        ends = Ends(data[:at])
        for piece in cut(data[at:], places):
            ends.feed(piece)
        assert ends.frames() == ([piece for piece in pieces if piece[0] == BINARY], b"")

    play()


@playing
def test_proxmoxs_close_ends_the_console_and_what_follows_it_is_dropped() -> None:
    ends = Ends()
    ends.feed(stream([(BINARY, b"a"), (CLOSE, b"\x03\xe8"), (BINARY, b"b"), (PING, b"")]))
    assert ends.relay.ended.result() == problems.UPSTREAM_CLOSED
    assert ends.frames() == ([(BINARY, b"a")], b"")
    ends.feed(stream([(BINARY, b"c")]))
    assert ends.frames() == ([(BINARY, b"a")], b"")
    assert ends.sent() == []


@pytest.mark.parametrize("head", ["8280", "c200", "8300", "8b00", "0900", "897e0080"])
@pytest.mark.parametrize("bytewise", [False, True])
def test_what_proxmox_may_not_send_ends_the_console_at_a_gap(head: str, bytewise: bool) -> None:
    @playing
    def play() -> None:
        ends = Ends()
        data = stream([(BINARY, b"good")]) + bytes.fromhex(head) + bytes(20)
        for piece in cut(data, range(len(data))) if bytewise else [data]:
            ends.feed(piece)
        assert ends.relay.ended.result() == problems.UPSTREAM_CLOSED
        assert "frame" in ends.relay.detail
        assert ends.frames() == ([(BINARY, b"good")], b"")
        assert not ends.relay.frame_is_cut

    play()


@playing
def test_what_is_held_back_is_bounded() -> None:
    ends = Ends()
    ping = frames.server_frame(PING, bytes(125))
    for byte in (stream([(BINARY, bytes(300))]) + ping) * 3:
        ends.feed(bytes((byte,)))
        assert len(ends.relay._tracker.header) < len(ping)


# --- browser -> Proxmox


@playing
def test_keystrokes_are_framed_anew_within_proxmoxs_rules() -> None:
    ends = Ends()
    paste = b"\x06\0\0\0" + (300_000).to_bytes(4, "big") + bytes(range(250)) * 1200
    masked = frames.client_frame(BINARY, KEY[:3]), frames.client_frame(frames.CONTINUATION, KEY[3:] + KEY)
    ends.type(bytes((masked[0][0] & 0x7F,)) + masked[0][1:] + masked[1])
    ends.type(frames.client_frame(BINARY, paste))
    sent = ends.sent()
    assert sent[0] == (BINARY, KEY + KEY)
    assert all(opcode == BINARY and len(payload) <= frames.MAX_TO_PROXMOX for opcode, payload in sent)
    assert b"".join(payload for _, payload in sent) == KEY + KEY + paste
    assert ends.relay.bytes_to_upstream == 16 + len(paste)


@playing
def test_what_was_typed_before_the_relay_goes_first() -> None:
    ends = Ends.__new__(Ends)
    ends.client, ends.upstream, ends.browser, ends.proxmox = ClientLink(), UpstreamLink(), Transport(), Transport()
    ends.client.connection_made(ends.browser)
    ends.upstream.connection_made(ends.proxmox)
    ends.type(frames.client_frame(BINARY, rfb.KEEPALIVE + KEY[:2]))
    relay = Relay(ends.client, ends.upstream, rfb.ClientMessages())
    relay.start()
    ends.type(frames.client_frame(BINARY, KEY[2:]))
    assert ends.sent() == [(BINARY, rfb.KEEPALIVE), (BINARY, KEY)]


@playing
def test_after_the_end_nothing_goes_to_proxmox() -> None:
    ends = Ends()
    ends.relay.end(problems.SIGNED_OUT)
    ends.relay.end(problems.UNASSIGNED)
    ends.type(frames.client_frame(BINARY, KEY) + frames.client_frame(BINARY, b"\x99"))
    assert ends.sent() == []
    assert ends.relay.ended.result() == problems.SIGNED_OUT


@playing
def test_a_keystroke_goes_on_as_it_is() -> None:
    ends = Ends()
    frame = frames.client_frame(BINARY, KEY)
    ends.type(frame)
    assert ends.proxmox.data == frame
    assert ends.relay.bytes_to_upstream == len(KEY)
    assert ends.relay.sent_upstream_at == ends.client.heard_at


@playing
def test_a_keystroke_goes_nowhere_without_the_right_or_after_the_end() -> None:
    looking = Ends(view_only=True)
    looking.type(frames.client_frame(BINARY, KEY))
    assert looking.proxmox.data == b""
    ended = Ends()
    ended.relay.end(problems.SIGNED_OUT)
    ended.type(frames.client_frame(BINARY, KEY))
    assert ended.proxmox.data == b""


@playing
def test_what_is_no_whole_message_is_taken_apart_even_alone_in_a_frame() -> None:
    ends = Ends()
    ends.type(frames.client_frame(BINARY, KEY[:5]))
    assert ends.proxmox.data == b""
    ends.type(frames.client_frame(BINARY, KEY[5:] + KEY[:5]))
    ends.type(frames.client_frame(BINARY, KEY[5:]))
    assert ends.sent() == [(BINARY, KEY), (BINARY, KEY)]
