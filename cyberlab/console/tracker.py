"""Follows Proxmox's frames without touching them: where one ends, a ping or a close of our own may stand.

What Proxmox sends is the bulk of a console and passes through as it is (RFC 6455, section 5).
"""

from __future__ import annotations

from struct import Struct

from cyberlab.console.frames import (
    BINARY,
    CLOSE,
    FIN,
    MASKED,
    MAX_CONTROL,
    OPCODE,
    PONG,
    RSV,
    WHOLE,
    Control,
    FrameError,
)

_HEADER = Struct(">HH").unpack_from  # the first two bytes as one number, and the length that may follow them
_SMALL, _MEDIUM = WHOLE << 8, WHOLE << 8 | 126  # what the first two bytes of a whole binary frame are


class FrameTracker:
    """Follows what Proxmox sends from frame to frame, without touching the bytes.

    ``remaining`` says where the stream stands: zero means between two frames, for an incomplete ``header`` has not
    been passed on yet.
    """

    __slots__ = ("header", "remaining")

    def __init__(self) -> None:
        self.remaining = 0  # payload bytes of the current frame still to come
        self.header = b""  # an incomplete header; it has not been passed on

    @property
    def between(self) -> bool:
        """Whether a frame of our own may stand here."""
        return self.remaining == 0

    def track(self, data: bytes | bytearray, size: int) -> int:
        """Follow ``data[:size]``, which begins where the last call ended; return how many bytes to pass on.

        Fewer than ``size`` means that an incomplete header begins there, or what is none of a data frame: see
        ``complete_control``. ``header`` is empty when this is called.
        """
        position = self.remaining
        last = size - 4
        before, steady = 0, True
        # What Proxmox sends are BINARY frames, whole and unmasked; whatever differs is looked at closely.
        while position <= last:
            first, length = _HEADER(data, position)
            if first == _MEDIUM:
                length += 4
            elif _SMALL <= first < _MEDIUM:
                length = first - _SMALL + 2
            else:
                break
            if length == before and steady:
                length = self._equal_frames(data, position, last, length)
                steady = length != before
            else:
                before = length
            position += length
        if position < size:
            position = self._track_closely(data, size, position)
        if position >= size:
            self.remaining = position - size
            return size
        self.remaining = 0
        return position

    @staticmethod
    def _equal_frames(data: bytes | bytearray, position: int, last: int, length: int) -> int:
        """The bytes of all frames from here on where they have the same ``length``, or of this one alone.

        `qm vncproxy` reads 4 KiB at a time, so that bulk comes in frames of one size; comparing a column of header
        bytes costs as much as following a single frame.
        """
        count = (last - position) // length + 1
        end = position + count * length
        for at in range(position, position + (4 if data[position + 1] == 126 else 2)):
            if data[at:end:length].count(data[at]) != count:
                return length
        return count * length

    def _track_closely(self, data: bytes | bytearray, size: int, position: int) -> int:
        """Go on from the header at ``position``; return where to stop, behind ``size`` or at what must not pass."""
        while position < size:
            left = size - position
            if left < 2:
                break
            first = data[position]
            length = data[position + 1]
            if (first != WHOLE or length > 127) and self._unusual(first, length):
                break
            if length < 126:
                position += 2 + length
            elif length == 126:
                if left < 4:
                    break
                position += 4 + (data[position + 2] << 8 | data[position + 3])
            else:
                if left < 10:
                    break
                position += 10 + int.from_bytes(data[position + 2 : position + 10], "big")
        return position

    @staticmethod
    def _unusual(first: int, length: int) -> bool:
        """Whether something other than a data frame begins here: a control frame, or what a server may not send."""
        return bool(first & RSV or length & MASKED or first & OPCODE > BINARY)


def complete_control(data: bytes) -> tuple[Control, int] | None:
    """The control frame that ``data`` begins with, and its size; None while it is incomplete or is a data frame.

    Raises FrameError for what a server may not send (masked, reserved bits, unknown opcodes, long control frames).
    """
    if len(data) < 2:
        return None
    first, size = data[0], data[1]
    opcode = first & OPCODE
    if size & MASKED or first & RSV or opcode > PONG or BINARY < opcode < CLOSE:
        raise FrameError(1002, f"frame header {first:02x}{size:02x} from the server")
    if opcode < CLOSE:
        return None
    if size > MAX_CONTROL or not first & FIN:
        raise FrameError(1002, "control frame is fragmented or too long")
    if len(data) < 2 + size:
        return None
    return Control(opcode, data[2 : 2 + size]), 2 + size
