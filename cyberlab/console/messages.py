"""What a browser sends on an open console, whatever its kind: the contract between a protocol and the relay."""

from __future__ import annotations

from typing import Protocol


class MessageError(Exception):
    """The browser sent what is no message of this kind of console."""


class ClientMessages(Protocol):
    """Cuts the browser's bytes into messages, without I/O, and lets only known and allowed ones through."""

    @property
    def keepalive(self) -> bytes:
        """A message that changes nothing, for a console that has been quiet."""
        ...

    @property
    def between(self) -> bool:
        """Whether a message of our own may stand here."""
        ...

    def is_one(self, first: int, second: int, size: int) -> bool:
        """Whether ``size`` bytes that begin with these two are surely one whole message that may pass."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Return the whole messages to pass on; raise MessageError for what is none."""
        ...
