"""Whose turn it is: an event loop on which no keystroke waits for other people's screens.

asyncio runs everything that is ready before it looks again, so that with fifty screens streaming a keystroke waits for
fifty turns. Here a turn of the loop has room for a few of the streams only, one after the other in a circle; whatever
else is ready comes first.
"""

from __future__ import annotations

import asyncio
import selectors
from itertools import islice
from typing import Any

SIZE = 128 * 1024  # bytes that a stream may take in one turn: fewer cost CPU, more make others wait
STREAMS = 8  # that have a turn before the loop looks again: about a millisecond
MUCH = 32 * 1024  # bytes in one turn that make a connection a stream


class Turns(selectors.DefaultSelector):
    """Tells streams from the rest, and a few of them from the others."""

    def __init__(self) -> None:
        """Nobody streams yet."""
        super().__init__()
        self._streams: dict[int, None] = {}  # in order: whoever had its turn goes to the end

    def streams(self, descriptor: int) -> None:
        """Count a connection among the streams."""
        self._streams[descriptor] = None

    def rests(self, descriptor: int) -> None:
        """Count it among the rest again."""
        self._streams.pop(descriptor, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready: all of the rest, and those streams whose turn it is."""
        ready = super().select(timeout)
        if len(self._streams) <= STREAMS or len(ready) <= STREAMS:
            return ready
        first, streams = [], {}
        for item in ready:
            key, events = item
            if key.fd in self._streams and events & selectors.EVENT_READ:
                streams[key.fd] = item
            else:
                first.append(item)
        for descriptor in list(islice((one for one in self._streams if one in streams), STREAMS)):
            self._streams[descriptor] = self._streams.pop(descriptor)
            first.append(streams[descriptor])
        return first

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Forget it as a stream, too: the number of a closed descriptor is given to another connection."""
        key = super().unregister(fileobj)
        self._streams.pop(key.fd, None)
        return key


class FairLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, with turns; what serves consoles should run on it, and does on any."""

    def __init__(self) -> None:
        """Made by asyncio.Runner."""
        self.turns = Turns()
        super().__init__(self.turns)


class Turn:
    """One connection's turns, on whatever loop it runs."""

    __slots__ = ("_descriptor", "_turns", "streaming")

    def __init__(self, sock: Any) -> None:
        """``sock``: the connection's, or None where there is none to wait for."""
        self._descriptor = sock.fileno() if sock is not None else -1
        self.streaming = False
        self._turns: Turns | None = getattr(asyncio.get_running_loop(), "turns", None)

    def took(self, size: int) -> None:
        """It read so many bytes."""
        if self._turns is None:
            return
        self.streaming = size >= MUCH
        if self.streaming:
            self._turns.streams(self._descriptor)
        else:
            self._turns.rests(self._descriptor)
