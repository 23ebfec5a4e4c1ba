"""WebSocket framing without I/O: bytes in, payloads and control frames out (RFC 6455, section 5).

What the browser sends is a trickle and is taken apart here; the bulk from Proxmox is only followed (tracker.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV, OPCODE, MASKED, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_CONTROL = 0x8
WHOLE = FIN | BINARY  # the first byte of an unfragmented frame, as mostly comes
MAX_CONTROL = 125  # RFC 6455, 5.5
# PVE::APIServer::AnyEvent reads into a buffer of 64 KiB (accept_connections, rbuf_max): of a frame that does not fit,
# AnyEvent::Handle makes the connection's end ("No space left on device"), long before its own limit of 128 KiB.
MAX_TO_PROXMOX = 32 * 1024

# Status codes that may stand in a close frame (RFC 6455, 7.4; IANA's registry).
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class FrameError(Exception):
    """The peer broke the framing rules; ``code`` is the close status to answer with (RFC 6455, 7.4.1)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Data(NamedTuple):
    """A piece of a data message: what has arrived of one frame, unmasked."""

    opcode: int  # of the message: TEXT or BINARY, also for its continuation frames
    payload: bytes
    last: bool  # the message ends with this piece


class Control(NamedTuple):
    """A whole control frame: CLOSE, PING or PONG."""

    opcode: int
    payload: bytes


Event = Data | Control


def xor(payload: bytes, key: bytes, offset: int = 0) -> bytes:
    """Mask or unmask ``payload``, whose first byte is byte ``offset`` of its frame (RFC 6455, 5.3).

    One big-integer operation: for the few bytes of a keystroke as quick as C, and no private name of anyone's.
    """
    size = len(payload)
    if not size:
        return b""
    shift = offset & 3
    if shift:
        key = key[shift:] + key[:shift]
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def header(opcode: int, size: int, *, fin: bool = True, masked: bool = False) -> bytes:
    """The first bytes of a frame of ``size`` payload bytes, without the masking key (RFC 6455, 5.2)."""
    first = opcode | (FIN if fin else 0)
    mask = MASKED if masked else 0
    if size < 126:
        return bytes((first, mask | size))
    if size < 65_536:
        return bytes((first, mask | 126)) + size.to_bytes(2, "big")
    return bytes((first, mask | 127)) + size.to_bytes(8, "big")


def server_frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame as a server sends it: unmasked."""
    return header(opcode, len(payload)) + payload


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame as a client sends it: masked with a fresh key (RFC 6455, 5.3)."""
    key = os.urandom(4)
    return header(opcode, len(payload), masked=True) + key + xor(payload, key)


def client_frames(payload: bytes) -> bytes:
    """Binary frames within Proxmox's rules: masked, unfragmented, no longer than it reads at once."""
    if len(payload) <= MAX_TO_PROXMOX:
        return client_frame(BINARY, payload)
    return b"".join(
        client_frame(BINARY, payload[start : start + MAX_TO_PROXMOX])
        for start in range(0, len(payload), MAX_TO_PROXMOX)
    )


def close_payload(code: int, reason: str = "") -> bytes:
    """The payload of a close frame; the reason is cut to fit, on a character's edge (RFC 6455, 5.5.1)."""
    text = reason.encode()[: MAX_CONTROL - 2].decode(errors="ignore")
    return code.to_bytes(2, "big") + text.encode()


def parse_close(payload: bytes) -> tuple[int, str]:
    """Status and reason of a close frame; 1005 where it has none. Raises FrameError for a bad one."""
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise FrameError(1002, "close frame with one byte")
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        raise FrameError(1002, f"close frame with status {code}")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(1007, "close reason is not UTF-8") from None


class ClientFrames:
    """Takes apart what a browser sends; keeps at most one header and one control frame's payload.

    Data payloads are handed on as they arrive, so that neither a large nor a never-ending frame is ever collected.
    """

    __slots__ = ("_control", "_fin", "_head", "_key", "_message", "_offset", "_opcode", "_remaining", "max_frame")

    def __init__(self, max_frame: int = 1 << 20) -> None:
        """``max_frame``: the largest payload of one data frame in bytes; above it FrameError 1009."""
        self.max_frame = max_frame
        self._head = b""  # an incomplete header
        self._remaining = 0  # payload bytes of the current frame still to come
        self._offset = 0  # payload bytes of it that came already: they turn the masking key
        self._key = b""
        self._opcode = 0
        self._fin = True
        self._control = b""
        self._message = 0  # opcode of the fragmented message under way, 0 for none

    def is_lone(self, data: bytes) -> bool:
        """Whether ``data`` is one small binary message and nothing else, as keystrokes are: no need to feed it."""
        size = len(data) - 6
        if not 4 <= size < 126 or data[0] != WHOLE or data[1] != MASKED | size:
            return False
        return not (self._head or self._key or self._message or size > self.max_frame)

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that ``data`` completes, to be used up; raise FrameError at the first broken rule.

        What came before the broken rule counts, wherever the network has cut the stream.
        """
        if self._head:
            data = self._head + data
            self._head = b""
        position, end = 0, len(data)
        while position < end or self._frame_is_empty_and_pending():
            if self._remaining == 0 and not self._key:
                size = self._header_size(data, position, end)
                if size > end - position:
                    self._head = data[position:]
                    break
                self._begin(data, position)
                position += size
            taken = min(self._remaining, end - position)
            payload = xor(data[position : position + taken], self._key, self._offset)
            position += taken
            self._offset += taken
            self._remaining -= taken
            event = self._payload(payload)
            if self._remaining == 0:
                self._key = b""
            if event is not None:
                yield event

    def _frame_is_empty_and_pending(self) -> bool:
        return self._remaining == 0 and bool(self._key)

    @staticmethod
    def _header_size(data: bytes, position: int, end: int) -> int:
        if end - position < 2:
            return 2
        length = data[position + 1] & _LENGTH
        if not data[position + 1] & MASKED:
            return 2  # a broken rule: no need to wait for the rest
        return 6 if length < 126 else 8 if length == 126 else 14

    def _begin(self, data: bytes, position: int) -> None:
        first, second = data[position], data[position + 1]
        opcode, fin, length = first & OPCODE, bool(first & FIN), second & _LENGTH
        if first & RSV:
            raise FrameError(1002, "reserved bits are set and no extension was agreed on")
        if not second & MASKED:
            raise FrameError(1002, "frame from a client is not masked")
        at = position + 2
        if length == 126:
            length = int.from_bytes(data[at : at + 2], "big")
            at += 2
            if length < 126:
                raise FrameError(1002, "length is not in its shortest form")
        elif length == 127:
            length = int.from_bytes(data[at : at + 8], "big")
            at += 8
            if length < 65_536 or length >> 63:
                raise FrameError(1002, "length is not in its shortest form")
        self._check(opcode, fin, length)
        self._opcode, self._fin = opcode, fin
        self._remaining, self._offset = length, 0
        self._key = data[at : at + 4]

    def _check(self, opcode: int, fin: bool, length: int) -> None:
        if opcode & _CONTROL:
            if opcode > PONG:
                raise FrameError(1002, f"unknown opcode {opcode}")
            if not fin or length > MAX_CONTROL:
                raise FrameError(1002, "control frame is fragmented or too long")
            self._control = b""
            return
        if opcode > BINARY:
            raise FrameError(1002, f"unknown opcode {opcode}")
        if (opcode == CONTINUATION) != bool(self._message):
            raise FrameError(1002, "continuation without a message, or a message within a message")
        if length > self.max_frame:
            raise FrameError(1009, f"frame of {length} bytes; {self.max_frame} is the limit")
        if opcode:
            self._message = opcode

    def _payload(self, payload: bytes) -> Event | None:
        done = self._remaining == 0
        if self._opcode & _CONTROL:
            self._control += payload
            return Control(self._opcode, self._control) if done else None
        message, last = self._message, done and self._fin
        if last:
            self._message = 0
        return Data(message, payload, last) if payload or last else None
