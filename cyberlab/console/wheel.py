"""One timer for all consoles: a wheel that looks at each of them once a turn, a share of them every second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

Look = Callable[[float], None]

log = logging.getLogger(__name__)


class Wheel:
    """Calls every member once per ``turn`` seconds with the loop's time; runs only while it has members."""

    def __init__(self, turn: float, spokes: int = 30) -> None:
        """``turn``: seconds for a full turn; ``spokes``: into how many shares it is divided."""
        self._pause = turn / spokes
        self._spokes: list[set[Look]] = [set() for _ in range(spokes)]
        self._at = 0
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, look: Look) -> Callable[[], None]:
        """Have ``look`` called once a turn; returns what ends it."""
        spoke = self._spokes[(self._at - 1) % len(self._spokes)]
        spoke.add(look)
        self._size += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._tick)

        def remove() -> None:
            if look in spoke:
                spoke.remove(look)
                self._size -= 1

        return remove

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._pause, self._tick) if self._size else None
        now = loop.time()
        for look in list(self._spokes[self._at]):
            try:
                look(now)
            except Exception:
                log.exception("a console's upkeep failed")
        self._at = (self._at + 1) % len(self._spokes)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
