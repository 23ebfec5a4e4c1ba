"""Who may ask a node next: so many calls at once, the others in line, and each user in turn.

Ten calls of `pvesh` at once take longer than ten one after the other, and a class opens its consoles in one minute.
So they wait here, where the page can say how long the line is, and nobody's twenty tabs are before everybody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cyberlab import problems
from cyberlab.problems import Problem

PATIENCE = 60.0  # seconds in the line
WAITING = 512
_ANNOUNCE_SECONDS = 0.3  # a line of two hundred moves faster than anybody reads


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a call is made: ``who`` takes turns with the others ('': the portal itself, which goes first).

    ``on_position`` is told the place in line, 1 for the next, whenever that changes.
    """

    who: str = ""
    on_position: Callable[[int], None] | None = None


PORTAL = Caller()


class GoHome(Exception):
    """The node that the call is about can be asked itself again; here it was in line as a guest."""


class _Entry:
    """One call that waits."""

    def __init__(self, caller: Caller, subject: str, share: int) -> None:
        self.caller = caller
        self.subject = subject
        self.share = share
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told = 0

    def tell(self, position: int) -> None:
        """Where it stands, if that is news."""
        if position != self.told and self.caller.on_position is not None and not self.turn.done():
            self.told = position
            self.caller.on_position(position)


class Admission:
    """The line in front of one node."""

    def __init__(self, at_once: int) -> None:
        """``at_once``: how many calls the node may work on at a time."""
        self._most = self._limit = at_once
        self._taken: dict[str, int] = {}
        self._lanes: dict[str, deque[_Entry]] = {}  # by user; the first lane has the next turn
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def working(self) -> int:
        """Calls that the node works on."""
        return sum(self._taken.values())

    @property
    def waiting(self) -> int:
        """Calls in line."""
        return sum(len(lane) for lane in self._lanes.values())

    def begin_slowly(self) -> None:
        """The node has just come back: one call, then two, …; whoever waited must not fall upon it together."""
        self._limit = 1

    @asynccontextmanager
    async def turn(self, caller: Caller, subject: str, *, foreign: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and hold it.

        ``subject``: the node that the call is about; ``foreign``: another one than the node that is asked, and if
        that one hangs, so does the call: such calls leave a place for the others. Raises Problem(SSH_BUSY) after
        PATIENCE seconds or when too many wait, Problem(SHUTTING_DOWN), GoHome.
        """
        await self._take(caller, subject, max(1, self._most - 1) if foreign else self._most)
        done = False
        try:
            yield
            done = True
        finally:
            if done and self._limit < self._most:
                self._limit += 1
            self._free(subject)

    def send_home(self, subject: str, ahead: int) -> int:
        """Another node has come back: who stands in line here for something about it asks there, if that is quicker.

        ``ahead``: how many are in that line already; returns how many there are then.
        """
        leaving = []
        for place, entry in reversed(list(enumerate(self._order(), 1))):
            if entry.subject == subject and place > ahead and not entry.turn.done():
                leaving.append(entry)
                ahead += 1
        for entry in reversed(leaving):  # as they stood
            entry.turn.set_exception(GoHome())
        return ahead

    async def _take(self, caller: Caller, subject: str, share: int) -> None:
        if self._closed:
            raise Problem(problems.SHUTTING_DOWN)
        if self._fits(subject, share):  # then nobody in line fits, or _free() would have let them in
            self._enter(subject)
            return
        if self.waiting >= WAITING:
            raise Problem(problems.SSH_BUSY, f"{WAITING} calls are waiting already")
        entry = _Entry(caller, subject, share)
        self._lanes.setdefault(caller.who, deque()).append(entry)
        entry.tell(next(place for place, known in enumerate(self._order(), 1) if known is entry))
        try:
            async with asyncio.timeout(PATIENCE):
                await entry.turn
        except BaseException as error:
            self._forget(entry)
            if entry.turn.done() and not entry.turn.cancelled() and entry.turn.exception() is None:
                self._free(subject)  # the turn came in the same moment as the end of patience
            if isinstance(error, TimeoutError):
                raise Problem(problems.SSH_BUSY, f"no turn within {PATIENCE:.0f} s; in work: {self._taken}") from None
            raise

    def _free(self, subject: str) -> None:
        self._taken[subject] -= 1
        if not self._taken[subject]:
            del self._taken[subject]
        while (entry := self._next()) is not None:
            self._forget(entry)
            lane = self._lanes.pop(entry.caller.who, None)
            if lane is not None:
                self._lanes[entry.caller.who] = lane  # behind all others
            self._enter(entry.subject)
            entry.turn.set_result(None)
        self._announce_soon()

    def _next(self) -> _Entry | None:
        """The first in line whom a free place suits."""
        if self.working >= self._limit:
            return None
        return next((e for e in self._order() if not e.turn.done() and self._fits(e.subject, e.share)), None)

    def _order(self) -> list[_Entry]:
        """Everybody in line as they will be called: one of each user, then the second of each, …"""
        lanes = [list(lane) for who, lane in self._lanes.items() if who]
        longest = max((len(lane) for lane in lanes), default=0)
        others = [lane[place] for place in range(longest) for lane in lanes if place < len(lane)]
        return [*self._lanes.get("", ()), *others]

    def _fits(self, subject: str, share: int) -> bool:
        return self.working < self._limit and self._taken.get(subject, 0) < share

    def _enter(self, subject: str) -> None:
        self._taken[subject] = self._taken.get(subject, 0) + 1

    def _forget(self, entry: _Entry) -> None:
        lane = self._lanes.get(entry.caller.who)
        if lane is not None and entry in lane:
            lane.remove(entry)
            if not lane:
                del self._lanes[entry.caller.who]
            self._announce_soon()

    def _announce_soon(self) -> None:
        if self._timer is None and self._lanes and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(_ANNOUNCE_SECONDS, self._announce)

    def _announce(self) -> None:
        self._timer = None
        for place, entry in enumerate(self._order(), 1):
            entry.tell(place)

    def close(self) -> None:
        """Send everybody home."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for entry in self._order():
            if not entry.turn.done():
                entry.turn.set_exception(Problem(problems.SHUTTING_DOWN))
        self._lanes.clear()
