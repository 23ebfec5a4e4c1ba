"""termproxy's protocol without I/O (proxmox-termproxy, main.rs: process_queue; its client in pve-xtermjs, main.js).

Client -> server: ``0:LEN:DATA`` is input (LEN in bytes), ``1:COLUMNS:ROWS:`` the window's size, ``2`` a ping, one
behind the other. Server -> client: the terminal's bytes as they are.

termproxy forgets the header of a message when the rest of that has not come yet, believes any LEN, and takes whatever
follows for messages. So only whole messages go on, and what is none ends the console.
"""

from __future__ import annotations

from cyberlab.console.messages import MessageError

OK = b"OK"
PING = b"2"
MAX_DATA = 64 * 1024  # bytes of one message; a page splits what it pastes
MAX_SIZE = 1000  # columns or rows
_DATA, _RESIZE, _PING, _COLON = b"012:"
_DIGITS = 5  # of the largest number


class TermproxyError(MessageError):
    """The browser does not speak the protocol as it must."""


def login_line(user: str, ticket: str) -> bytes:
    """What proves that we may; raise ValueError for what would be more than one line."""
    line = f"{user}:{ticket}"
    if ":" in user or not line.isprintable():
        raise ValueError("no user or no ticket")
    return line.encode() + b"\n"


def data(payload: bytes) -> bytes:
    """Input for the terminal."""
    return b"0:%d:%b" % (len(payload), payload)


def resize(columns: int, rows: int) -> bytes:
    """The window's size."""
    return b"1:%d:%d:" % (columns, rows)


class ClientMessages:
    """Cuts the browser's bytes into messages and lets whole ones through.

    Holds at most one incomplete message. ``view_only`` drops input, and sizes as well: all who look at a container
    share its one terminal, so that a size is drawn for everybody.
    """

    __slots__ = ("_buffer", "_wanted", "view_only")

    keepalive = PING

    def __init__(self, *, view_only: bool = False) -> None:
        self.view_only = view_only
        self._buffer = bytearray()
        self._wanted = 0  # the size of the incomplete message, 0 while that cannot be told

    @property
    def between(self) -> bool:
        """Whether a message of our own may stand here."""
        return not self._buffer

    def is_one(self, first: int, second: int, size: int) -> bool:
        """Never sure: the length stands further behind."""
        return False

    def feed(self, data: bytes) -> bytes:
        """Return the whole messages to pass on; raise TermproxyError for what is none."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return b""
            data = bytes(self._buffer)
            self._buffer.clear()
        self._wanted = 0
        position, end, passed = 0, len(data), []
        while position < end:
            size = self._size(data, position)
            if size == 0 or size > end - position:
                self._wanted = size
                self._buffer += data[position:]
                break
            if not self.view_only or data[position] == _PING:
                passed.append(data[position : position + size])
            position += size
        return b"".join(passed)

    @staticmethod
    def _size(data: bytes, at: int) -> int:
        """The size of the message that begins at ``at``; 0 while too little has come to tell."""
        kind = data[at]
        if kind == _PING:
            return 1
        if kind not in (_DATA, _RESIZE):
            raise TermproxyError(f"unknown message {kind:#04x}")
        if len(data) < at + 2:
            return 0
        if data[at + 1] != _COLON:
            raise TermproxyError("no colon behind a message's kind")
        number, behind = _number(data, at + 2, MAX_DATA if kind == _DATA else MAX_SIZE)
        if kind == _DATA:
            return behind and behind - at + number
        if behind:
            _, behind = _number(data, behind, MAX_SIZE)
        return behind and behind - at


def _number(data: bytes, at: int, largest: int) -> tuple[int, int]:
    """The number that begins at ``at``, and the place behind its colon; that is 0 while too little has come."""
    end = data.find(b":", at, at + _DIGITS + 1)
    digits = data[at : end if end >= 0 else at + _DIGITS + 1]
    if len(digits) > _DIGITS or not (digits.isdigit() or (not digits and end < 0)):
        raise TermproxyError("a number was expected")
    if end < 0:
        return 0, 0
    number = int(digits)
    if number > largest or (number == 0 and largest == MAX_SIZE):
        raise TermproxyError(f"{number} is not within the limit of {largest}")
    return number, end + 1
