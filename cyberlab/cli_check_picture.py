"""The first look at a machine's screen: ServerInit, then one picture, uncompressed (RFC 6143, 7.3.2, 7.6.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

from cyberlab import problems
from cyberlab.console import rfb
from cyberlab.problems import Problem

_SERVER_INIT = struct.Struct(">HH16xI")
_RECTANGLE = struct.Struct(">HHHHi")
_UPDATE, _COLOUR_MAP, _BELL, _CUT_TEXT = range(4)  # server messages, RFC 6143, 7.6
_RAW = 0
_DEPTH = 4  # bytes of a pixel in the format that we ask for
_LONGEST_TEXT = 1 << 20
_MESSAGES = 64  # that may come before the picture


class Link(Protocol):
    """An authenticated connection to a VNC server; the caller sets the deadline."""

    async def read(self, size: int) -> bytes:
        """Wait for that many bytes."""
        ...

    def send(self, payload: bytes) -> None:
        """Send RFB messages."""
        ...


@dataclass(frozen=True, slots=True)
class Screen:
    """What ServerInit tells; sizes in pixels."""

    width: int
    height: int
    name: str


@dataclass(frozen=True, slots=True)
class Picture:
    """What came as the first update."""

    rectangles: int
    size: int  # bytes
    black: bool


async def server_init(link: Link) -> Screen:
    """Read ServerInit; raise Problem(VNC_PROTOCOL) for a screen without pixels."""
    width, height, length = _SERVER_INIT.unpack(await link.read(_SERVER_INIT.size))
    if length > _LONGEST_TEXT:
        raise Problem(problems.VNC_PROTOCOL, f"a name of {length} bytes")
    name = (await link.read(length)).decode(errors="replace")
    if not width or not height:
        raise Problem(problems.VNC_PROTOCOL, f"a screen of {width} × {height} pixels")
    return Screen(width, height, "".join(letter if letter.isprintable() else "?" for letter in name[:80]))


async def first_picture(link: Link, screen: Screen) -> Picture:
    """Ask for the whole screen once and read the first update; raise Problem(VNC_PROTOCOL) for what is none."""
    width, height = screen.width, screen.height
    link.send(
        struct.pack(">B3xBBBBHHHBBB3x", rfb.SET_PIXEL_FORMAT, 8 * _DEPTH, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        + struct.pack(">BxHi", rfb.SET_ENCODINGS, 1, _RAW)
        + struct.pack(">BBHHHH", rfb.FRAMEBUFFER_UPDATE_REQUEST, 0, 0, 0, width, height)
    )
    for _ in range(_MESSAGES):
        kind = (await link.read(1))[0]
        if kind == _UPDATE:
            (count,) = struct.unpack(">xH", await link.read(3))
            if count:
                return await _rectangles(link, screen, count)
        elif kind == _COLOUR_MAP:
            (colours,) = struct.unpack(">3xH", await link.read(5))
            await link.read(6 * colours)
        elif kind == _CUT_TEXT:
            (length,) = struct.unpack(">3xI", await link.read(7))
            if length > _LONGEST_TEXT:
                raise Problem(problems.VNC_PROTOCOL, f"a clipboard of {length} bytes")
            await link.read(length)
        elif kind != _BELL:
            raise Problem(problems.VNC_PROTOCOL, f"server message {kind}")
    raise Problem(problems.VNC_PROTOCOL, f"{_MESSAGES} messages, and no picture among them")


async def _rectangles(link: Link, screen: Screen, count: int) -> Picture:
    """Read an update row by row: nothing is kept but whether any pixel shines."""
    size, black, most = 0, True, 4 * screen.width * screen.height * _DEPTH
    for _ in range(count):
        x, y, width, height, encoding = _RECTANGLE.unpack(await link.read(_RECTANGLE.size))
        if encoding != _RAW:
            raise Problem(problems.VNC_PROTOCOL, f"encoding {encoding}, where raw was asked for")
        size += width * height * _DEPTH
        if x + width > screen.width or y + height > screen.height or size > most:
            raise Problem(problems.VNC_PROTOCOL, "a rectangle beyond the screen")
        for _ in range(height):
            row = await link.read(width * _DEPTH)
            # The fourth byte of a pixel means nothing.
            black = black and not any(row[colour::_DEPTH].strip(b"\0") for colour in range(3))
    return Picture(count, size, black)
