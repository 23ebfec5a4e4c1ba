"""One call in flight for any number of waiters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from cyberlab import problems
from cyberlab.problems import Problem

T = TypeVar("T")


class Flight(Generic[T]):
    """Joins callers to the call that is on its way already."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self._closed = False

    async def join(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What ``call`` returns or raises, made once for all who ask meanwhile; it has its own deadline."""
        if self._closed:
            raise Problem(problems.SHUTTING_DOWN)
        # One that has ended is told of in the next turn of the loop: to await it would not even let that turn come.
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(call())
            self._task.add_done_callback(self._landed)
        task = self._task
        try:
            # Shielded: a browser that goes away must not take the answer from everybody else who waits for it.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if task.cancelled() and waiter is not None and not waiter.cancelling():
                # Not this caller was cancelled, but the call: by close().
                raise Problem(problems.SHUTTING_DOWN) from None
            raise

    def _landed(self, task: asyncio.Task[T]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled():
            task.exception()  # retrieved, also when nobody waits any more

    def close(self) -> None:
        """End the call in flight and take no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()


class Kept(Generic[T]):
    """An answer that is good for a while, asked for once by however many need it."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], max_age: float) -> None:
        """``fetch`` asks; it has its own deadline. ``max_age``: seconds."""
        self._fetch = fetch
        self._max_age = max_age
        self._answer: tuple[float, T] | None = None  # when it was asked for
        self._flight: Flight[T] = Flight()

    async def get(self) -> T:
        """The answer; whatever ``fetch`` raises."""
        if self._answer is not None and time.monotonic() - self._answer[0] <= self._max_age:
            return self._answer[1]
        return await self._flight.join(self._renew)

    async def _renew(self) -> T:
        asked_at = time.monotonic()
        answer = await self._fetch()
        self._answer = (asked_at, answer)
        return answer

    def close(self) -> None:
        """End a call in flight."""
        self._flight.close()
