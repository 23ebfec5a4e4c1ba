"""The first look at a screen, fed with what servers send, in any pieces, and with what none may send."""

from __future__ import annotations

import struct
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab.cli_check_picture import Picture, Screen, first_picture, server_init
from cyberlab.problems import Problem

SCREEN = Screen(4, 2, "kali")


class Said(Exception):
    """The server has said all it had to say: the reader would wait."""


class Server:
    """Bytes that a server sends, and what it was asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = b""

    async def read(self, size: int) -> bytes:
        """All that was asked for, as UpstreamLink.read."""
        if size > len(self.data):
            raise Said
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def send(self, payload: bytes) -> None:
        """Note it."""
        self.asked += payload


def _now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


def _init(width: int, height: int, name: bytes) -> bytes:
    return struct.pack(">HH16xI", width, height, len(name)) + name


def _rectangle(x: int, y: int, width: int, height: int, pixels: bytes, encoding: int = 0) -> bytes:
    return struct.pack(">HHHHi", x, y, width, height, encoding) + pixels


def _update(*rectangles: bytes) -> bytes:
    return struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)


BLACK = b"\0\0\0\xff"  # the fourth byte is padding
FULL = _update(_rectangle(0, 0, 4, 2, BLACK * 8))


def test_server_init() -> None:
    server = Server(_init(1024, 768, "kali ✓\x1b[2J".encode()) + b"rest")
    assert _now(server_init(server)) == Screen(1024, 768, "kali ✓?[2J")
    assert server.data == b"rest"


@pytest.mark.parametrize(("width", "height", "length"), [(0, 768, 4), (1024, 0, 4), (1024, 768, 1 << 21)])
def test_a_screen_that_is_none(width: int, height: int, length: int) -> None:
    with pytest.raises(Problem) as caught:
        _now(server_init(Server(struct.pack(">HH16xI", width, height, length) + b"name")))
    assert caught.value.code == "vnc-protocol"


def test_what_is_asked() -> None:
    """True colour in 32 bits, raw only, the whole screen, now (RFC 6143, 7.5.1-7.5.3)."""
    server = Server(FULL)
    _now(first_picture(server, SCREEN))
    assert server.asked == (
        bytes([0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0])
        + bytes([2, 0, 0, 1, 0, 0, 0, 0])
        + bytes([3, 0, 0, 0, 0, 0, 0, 4, 0, 2])
    )


def test_black_and_not_black() -> None:
    assert _now(first_picture(Server(FULL), SCREEN)) == Picture(1, 32, True)
    for colour in range(3):
        pixel = bytearray(BLACK)
        pixel[colour] = 1
        halves = _rectangle(0, 0, 4, 1, BLACK * 4), _rectangle(0, 1, 4, 1, BLACK * 3 + bytes(pixel))
        assert _now(first_picture(Server(_update(*halves)), SCREEN)) == Picture(2, 32, False)


def test_what_else_a_server_may_say_first() -> None:
    colours = struct.pack(">BxHH", 1, 0, 2) + bytes(12)
    text = struct.pack(">B3xI", 3, 5) + b"hello"
    server = Server(b"\x02" + colours + text + _update() + FULL + b"more")
    assert _now(first_picture(server, SCREEN)) == Picture(1, 32, True)
    assert server.data == b"more"


@pytest.mark.parametrize(
    "said",
    [
        b"\x04",
        b"\x02" * 65,
        struct.pack(">B3xI", 3, 1 << 31),
        _update(_rectangle(0, 0, 4, 2, BLACK * 8, encoding=5)),
        _update(_rectangle(1, 0, 4, 2, BLACK * 8)),
        _update(_rectangle(0, 1, 4, 2, BLACK * 8)),
        _update(*[_rectangle(0, 0, 4, 2, BLACK * 8)] * 5),
    ],
    ids=["unknown", "only bells", "endless text", "encoding", "too wide", "too high", "too much"],
)
def test_what_is_no_picture(said: bytes) -> None:
    with pytest.raises(Problem) as caught:
        _now(first_picture(Server(said), SCREEN))
    assert caught.value.code == "vnc-protocol"


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_picture_a_problem_or_waiting(said: bytes) -> None:
    try:
        picture = _now(first_picture(Server(said), SCREEN))
    except (Problem, Said):
        return
    assert picture.size <= 4 * 32
