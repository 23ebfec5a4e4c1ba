"""Every live console, known by user, VM and login session, so that whatever takes a right away can end it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class ConsoleRequest:
    """Who wants to see what: all that the gateway knows of people and machines."""

    user_id: int
    username: str
    login_session_id: int
    vm_id: int  # the portal's id
    vm_label: str  # cluster/vmid name, for logs and lists
    as_teacher: bool = False
    view_only: bool = False
    wall: bool = False  # one of many on a teacher's wall
    address: str = ""
    request_id: str = ""


@dataclass(slots=True, eq=False)
class LiveConsole:
    """One entry of the registry, from the accepted websocket to its end."""

    id: int
    request: ConsoleRequest
    close: Callable[[str], None]  # takes a code of problems; returns at once
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    open: bool = False  # the picture is there
    traffic: Callable[[], tuple[int, int]] = lambda: (0, 0)  # bytes so far: to the browser, to the machine


class Full(Exception):
    """A limit on live consoles is reached."""


def _spared(limit: int) -> int:
    """What walls may take of so many places: a fifth stays free for those who open one console to work in it."""
    return limit - max(1, limit // 5)


class Registry:
    """A plain dict of live consoles, oldest first. Thousands are looked through in a millisecond: it has no index."""

    def __init__(self, limit: int = 2000, limit_per_user: int = 20) -> None:
        """``limit``: live consoles in all; ``limit_per_user``: of one user."""
        self._live: dict[int, LiveConsole] = {}
        self._of_user: Counter[int] = Counter()
        self._ids = itertools.count(1)
        self._limit = limit
        self._limit_per_user = limit_per_user
        self.draining = False

    @property
    def wall_limit(self) -> int:
        """How many consoles a wall may have at best."""
        return _spared(self._limit_per_user)

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[LiveConsole]:
        return iter(list(self._live.values()))

    @contextmanager
    def entry(self, request: ConsoleRequest, close: Callable[[str], None]) -> Iterator[LiveConsole]:
        """List a console for as long as the block runs; raise Full at a limit."""
        user, most, most_of_user = request.user_id, self._limit, self._limit_per_user
        if request.wall:
            most, most_of_user = _spared(most), _spared(most_of_user)
        if len(self._live) >= most or self._of_user[user] >= most_of_user:
            raise Full
        live = LiveConsole(next(self._ids), request, close)
        self._live[live.id] = live
        self._of_user[user] += 1
        try:
            yield live
        finally:
            del self._live[live.id]
            self._of_user[user] -= 1
            if not self._of_user[user]:
                del self._of_user[user]

    def end(self, code: str, which: Callable[[ConsoleRequest], bool]) -> int:
        """End the consoles for which ``which`` holds, with a code of problems; return how many."""
        chosen = [live for live in self if which(live.request)]
        for live in chosen:
            live.close(code)
        return len(chosen)
