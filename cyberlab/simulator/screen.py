"""A drawn text screen: 80 by 25 cells that answer the keyboard, rendered in whatever pixel format a viewer wants."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from dataclasses import dataclass

from cyberlab.simulator import font
from cyberlab.simulator.bootsector import COLUMNS, PROMPT, ROWS, banner

CELL_WIDTH, CELL_HEIGHT = font.WIDTH, font.HEIGHT * 2
WIDTH, HEIGHT = COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT
FOREGROUND = (255, 255, 255)
_VGA = ((0, 0, 0), (0, 0, 170), (0, 170, 0), (0, 170, 170), (170, 0, 0), (170, 0, 170), (170, 85, 0), (170, 170, 170))

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """A true-colour PIXEL_FORMAT (RFC 6143 section 7.4)."""

    bits: int = 32
    depth: int = 24
    big_endian: bool = False
    maxima: Colour = (255, 255, 255)
    shifts: Colour = (16, 8, 0)

    def pack(self) -> bytes:
        """The sixteen bytes of the wire."""
        return struct.pack(">BBBBHHHBBB3x", self.bits, self.depth, self.big_endian, 1, *self.maxima, *self.shifts)

    @classmethod
    def unpack(cls, raw: bytes) -> PixelFormat:
        """Read the sixteen bytes; ValueError for colour maps and impossible sizes."""
        bits, depth, big, true, r, g, b, rs, gs, bs = struct.unpack(">BBBBHHHBBB3x", raw)
        if not true or bits not in (8, 16, 32) or max(rs, gs, bs) >= bits or not (r and g and b):
            raise ValueError("only true colour in 8, 16 or 32 bits")
        return cls(bits, depth, bool(big), (r, g, b), (rs, gs, bs))

    def pixel(self, colour: Colour) -> bytes:
        """One pixel; ``colour``: 0 to 255 each."""
        value = 0
        for part, maximum, shift in zip(colour, self.maxima, self.shifts, strict=True):
            value |= (part * maximum + 127) // 255 << shift
        size = self.bits // 8
        return (value & (1 << self.bits) - 1).to_bytes(size, "big" if self.big_endian else "little")


@functools.lru_cache(maxsize=4096)
def _cell(letter: str, background: Colour, pixels: PixelFormat) -> tuple[bytes, ...]:
    """The scan lines of one cell, each used twice."""
    on, off = pixels.pixel(FOREGROUND), pixels.pixel(background)
    return tuple(
        b"".join(on if row & 0x80 >> place else off for place in range(CELL_WIDTH)) for row in font.glyph(letter)
    )


class Screen:
    """The cells, and who wants to know which of them changed (row, first column, last column)."""

    def __init__(self, name: str, attribute: int, changed: Callable[[int, int, int], None]) -> None:
        """``attribute``: VGA's, of which the background is used."""
        self._name = name
        self._changed = changed
        self.background = _VGA[attribute >> 4 & 7]
        self._cells: list[list[str]] = []
        self._row = self._column = 0
        self.boot()

    @property
    def text(self) -> str:
        """What is on the screen, for tests."""
        return "\n".join("".join(row).rstrip() for row in self._cells).rstrip()

    def boot(self) -> None:
        """Clear, greet, prompt."""
        self._cells = [[" "] * COLUMNS for _ in range(ROWS)]
        self._row = self._column = 0
        for letter in banner(self._name):
            if letter == "\n":
                self._row += 1
            elif letter == "\r":
                self._column = 0
            else:
                self._put(letter)
        self._prompt()
        self._all_changed()

    def type(self, letter: str) -> None:
        """A key: a printable letter, ``\\r`` for Enter, ``\\b`` for Backspace; others do nothing."""
        if letter == "\r":
            self._set(self._column, " ")
            self._column = 0
            self._down()
            self._prompt()
        elif letter == "\b":
            if self._column > len(PROMPT):
                self._set(self._column, " ")
                self._column -= 1
                self._set(self._column, "_")
        elif " " <= letter <= "~" and self._column < COLUMNS - 2:
            self._put(letter)
            self._set(self._column, "_")

    def _prompt(self) -> None:
        for letter in PROMPT:
            self._put(letter)
        self._set(self._column, "_")

    def _put(self, letter: str) -> None:
        self._set(self._column, letter)
        self._column += 1

    def _set(self, column: int, letter: str) -> None:
        self._cells[self._row][column] = letter
        self._changed(self._row, column, column)

    def _down(self) -> None:
        if self._row < ROWS - 1:
            self._row += 1
            return
        del self._cells[0]
        self._cells.append([" "] * COLUMNS)
        self._all_changed()

    def _all_changed(self) -> None:
        for row in range(ROWS):
            self._changed(row, 0, COLUMNS - 1)

    def render(self, pixels: PixelFormat, x: int, y: int, width: int, height: int) -> bytes:
        """That rectangle in raw encoding (RFC 6143 section 7.7.1)."""
        size = pixels.bits // 8
        first, last = x // CELL_WIDTH, (x + width - 1) // CELL_WIDTH
        left = (x - first * CELL_WIDTH) * size
        lines: list[bytes] = []
        for row in range(y // CELL_HEIGHT, (y + height - 1) // CELL_HEIGHT + 1):
            cells = [_cell(letter, self.background, pixels) for letter in self._cells[row][first : last + 1]]
            scans = [b"".join(part)[left : left + width * size] for part in zip(*cells, strict=True)]
            top = row * CELL_HEIGHT
            shown = range(max(y, top) - top, min(y + height, top + CELL_HEIGHT) - top)
            lines += [scans[line // 2] for line in shown]
        return b"".join(lines)
