"""Netstrings (https://cr.yp.to/proto/netstrings.txt): byte strings of any content, one behind the other."""

from __future__ import annotations

_DIGITS = 9


class Garbled(Exception):
    """Bytes that are no netstrings, or one that is too long."""


def pack(*fields: bytes) -> bytes:
    """The fields, one behind the other."""
    return b"".join(b"%d:%s," % (len(field), field) for field in fields)


def unpack(data: bytes) -> list[bytes]:
    """All fields of a complete sequence; raise Garbled."""
    reader = Netstrings(len(data))
    fields = reader.feed(data)
    if reader.pending:
        raise Garbled("the last one is not complete")
    return fields


class Netstrings:
    """Takes a stream apart as it comes."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes that one may hold."""
        self._limit = limit
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of one that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Those that are complete now; raise Garbled, after which nothing more may be fed."""
        buffer = self._buffer
        buffer += data
        found, start = [], 0
        while True:
            colon = buffer.find(b":", start, start + _DIGITS + 1)
            digits = bytes(buffer[start : colon if colon >= 0 else start + _DIGITS + 1])
            if colon < 0 and len(digits) <= _DIGITS and (not digits or digits.isdigit()):
                break
            if colon < 0 or not digits.isdigit() or digits != b"%d" % int(digits):
                raise Garbled("no length where one should be")
            size = int(digits)
            if size > self._limit:
                raise Garbled(f"one of {size} bytes")
            end = colon + 1 + size
            if len(buffer) <= end:
                break
            if buffer[end] != ord(","):
                raise Garbled("no comma behind one")
            found.append(bytes(buffer[colon + 1 : end]))
            start = end + 1
        del buffer[:start]
        return found
