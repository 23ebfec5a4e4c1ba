"""RFB without I/O: the handshakes' bytes and the lengths of client messages (RFC 6143; QEMU's and the
community's extensions from the rfbproto document).
"""

from __future__ import annotations

import struct

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from cyberlab.console.messages import MessageError

VERSION = b"RFB 003.008\n"
SECURITY_NONE, SECURITY_VNC_AUTH = 1, 2
CHALLENGE_SIZE = 16
OK, FAILED = 0, 1

# Client messages (RFC 6143, 7.5) and the extensions that noVNC sends.
SET_PIXEL_FORMAT, SET_ENCODINGS, FRAMEBUFFER_UPDATE_REQUEST = 0, 2, 3
KEY_EVENT, POINTER_EVENT, CLIENT_CUT_TEXT = 4, 5, 6
ENABLE_CONTINUOUS_UPDATES, FENCE, XVP, SET_DESKTOP_SIZE, QEMU = 150, 248, 250, 251, 255
QEMU_EXTENDED_KEY_EVENT, QEMU_AUDIO, QEMU_AUDIO_SET_FORMAT = 0, 1, 2
PSEUDO_EXTENDED_MOUSE_BUTTONS = -316

# What changes something in the guest; a view-only console drops these.
INPUT = frozenset({KEY_EVENT, POINTER_EVENT, CLIENT_CUT_TEXT, XVP, SET_DESKTOP_SIZE, QEMU})

_FIXED = {
    SET_PIXEL_FORMAT: 20,
    FRAMEBUFFER_UPDATE_REQUEST: 10,
    KEY_EVENT: 8,
    ENABLE_CONTINUOUS_UPDATES: 10,
    XVP: 4,
}
_ONE = {FRAMEBUFFER_UPDATE_REQUEST: 10, KEY_EVENT: 8}  # what mostly comes one at a time, beside the mouse
# Asks for a picture of one pixel, should it change: the cheapest message that every server understands.
KEEPALIVE = struct.pack(">BBHHHH", FRAMEBUFFER_UPDATE_REQUEST, 1, 0, 0, 1, 1)


class RfbError(MessageError):
    """The peer does not speak RFB as it must."""


def vnc_response(password: str, challenge: bytes) -> bytes:
    """Encrypt the server's challenge with the password's first eight characters (RFC 6143, 7.2.2).

    Each byte of the key has its bits mirrored: an old slip that became the protocol.
    """
    key = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    # DES is Triple DES with one key three times.
    encryptor = Cipher(TripleDES(mirrored * 3), modes.ECB()).encryptor()  # noqa: S305 - the protocol's choice
    return encryptor.update(challenge) + encryptor.finalize()


def failure(reason: str) -> bytes:
    """A list of no security types and why, or the tail of a failed SecurityResult (RFC 6143, 7.1.2, 7.1.3)."""
    text = reason.encode()
    return len(text).to_bytes(4, "big") + text


class ClientMessages:
    """Cuts the browser's bytes into RFB messages and lets only known ones through.

    Holds at most one incomplete message. ``view_only`` drops whatever would change something in the guest.
    """

    __slots__ = ("_buffer", "_extended_pointer", "_wanted", "max_message", "view_only")

    keepalive = KEEPALIVE

    def __init__(self, *, view_only: bool = False, max_message: int = 1 << 20) -> None:
        """``max_message``: bytes; a longer one (a pasted text) raises RfbError."""
        self.view_only = view_only
        self.max_message = max_message
        self._buffer = bytearray()
        self._wanted = 0  # the size of the incomplete message, 0 while that cannot be told
        self._extended_pointer = False

    @property
    def between(self) -> bool:
        """Whether a message of our own may stand here."""
        return not self._buffer

    def is_one(self, first: int, second: int, size: int) -> bool:
        """Whether ``size`` bytes that begin with these two are one whole message, as passes in full and often."""
        if self._buffer or self.view_only:
            return False
        if first == POINTER_EVENT:
            return size == (7 if self._extended_pointer and second & 0x80 else 6)
        if first == QEMU:
            return size == 12 and second == QEMU_EXTENDED_KEY_EVENT
        return _ONE.get(first) == size

    def feed(self, data: bytes) -> bytes:
        """Return the whole messages to pass on; raise RfbError for what is none."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return b""
            data = bytes(self._buffer)
            self._buffer = bytearray()
        position, end, start, passed = 0, len(data), 0, b""
        while position < end:
            size = self._size(data, position, end - position)
            if size > self.max_message:
                raise RfbError(f"message of {size} bytes; {self.max_message} is the limit")
            if size == 0 or size > end - position:
                self._wanted = size
                self._buffer += data[position:]
                break
            kind = data[position]
            if kind == SET_ENCODINGS:
                self._note_encodings(data[position : position + size])
            if self.view_only and kind in INPUT:
                passed += data[start:position]
                start = position + size
            position += size
        return passed + data[start:position]

    def _size(self, data: bytes, at: int, have: int) -> int:
        """The size of the message that begins at ``at``; 0 while too little has come to tell."""
        kind = data[at]
        fixed = _FIXED.get(kind)
        if fixed is not None:
            return fixed
        if kind == POINTER_EVENT:
            # With ExtendedMouseButtons the top bit of the mask announces one more byte (rfbproto, 7.5.5).
            if not self._extended_pointer:
                return 6
            return 0 if have < 2 else 7 if data[at + 1] & 0x80 else 6
        if kind == CLIENT_CUT_TEXT:
            # A negative length marks the extended clipboard; its size is the absolute value.
            return 0 if have < 8 else 8 + abs(int.from_bytes(data[at + 4 : at + 8], "big", signed=True))
        if kind == SET_ENCODINGS:
            return 0 if have < 4 else 4 + 4 * int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == QEMU:
            return self._qemu_size(data, at, have)
        if kind == SET_DESKTOP_SIZE:
            return 0 if have < 8 else 8 + 16 * data[at + 6]
        if kind == FENCE:
            return 0 if have < 9 else 9 + data[at + 8]
        raise RfbError(f"unknown client message {kind}")

    @staticmethod
    def _qemu_size(data: bytes, at: int, have: int) -> int:
        if have < 4:
            return 0
        if data[at + 1] == QEMU_EXTENDED_KEY_EVENT:
            return 12
        if data[at + 1] == QEMU_AUDIO:
            return 10 if int.from_bytes(data[at + 2 : at + 4], "big") == QEMU_AUDIO_SET_FORMAT else 4
        raise RfbError(f"unknown QEMU client message {data[at + 1]}")

    def _note_encodings(self, message: bytes) -> None:
        encodings = struct.unpack_from(f">{(len(message) - 4) // 4}i", message, 4)
        self._extended_pointer = PSEUDO_EXTENDED_MOUSE_BUTTONS in encodings
