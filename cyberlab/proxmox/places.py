"""Who may use the SSH pool next: so many calls at once, and so many of them about one node."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

from cyberlab import problems
from cyberlab.problems import Problem


class Places:
    """Places for calls, waited for on the loop: a call that waits on a thread would keep it from one that could run."""

    def __init__(self, total: int, waiting: int) -> None:
        """``total``: places; ``waiting``: how many calls may queue."""
        self._total = total
        self._waiting = waiting
        self._taken: dict[str, int] = {}
        self._queue: deque[tuple[str, int, asyncio.Future[None]]] = deque()
        self._closed = False

    async def take(self, subject: str, share: int, until: float) -> None:
        """Wait for a place until ``until`` (monotonic).

        ``subject``: what the call is about, a node as a rule; ``share``: how many places calls about it may have.
        Raises Problem(SSH_BUSY), Problem(SHUTTING_DOWN). Each place taken must be given back with free().
        """
        if self._closed:
            raise Problem(problems.SHUTTING_DOWN)
        if self._fits(subject, share):  # then nobody in the queue fits, or free() would have let them in
            self._enter(subject)
            return
        if len(self._queue) >= self._waiting:
            raise Problem(problems.SSH_BUSY, f"{len(self._queue)} calls are waiting already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (subject, share, turn)
        self._queue.append(entry)
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await turn
        except BaseException as error:
            with suppress(ValueError):
                self._queue.remove(entry)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.free(subject)  # the turn came in the same moment as the end of patience
            if isinstance(error, TimeoutError):
                raise Problem(problems.SSH_BUSY, f"no channel became free; in use: {self._taken}") from None
            raise

    def free(self, subject: str) -> None:
        """Give a place back: the first in the queue whom it suits gets it."""
        self._taken[subject] -= 1
        if not self._taken[subject]:
            del self._taken[subject]
        for entry in list(self._queue):
            waiter, share, turn = entry
            if turn.done():
                self._queue.remove(entry)
            elif self._fits(waiter, share):
                self._queue.remove(entry)
                self._enter(waiter)
                turn.set_result(None)

    def close(self) -> None:
        """Send everybody home."""
        self._closed = True
        while self._queue:
            turn = self._queue.popleft()[2]
            if not turn.done():
                turn.set_exception(Problem(problems.SHUTTING_DOWN))

    def _fits(self, subject: str, share: int) -> bool:
        return sum(self._taken.values()) < self._total and self._taken.get(subject, 0) < share

    def _enter(self, subject: str) -> None:
        self._taken[subject] = self._taken.get(subject, 0) + 1
