"""The one crossing between threads and the IOLoop.

Libraries that block (bcrypt, ldap3, paramiko, SQLAlchemy) run in small pools of their own, so that a
flood of sign-ins can hold up neither the database nor the tickets. Nothing else starts threads, but for
proxmox/names.py and proxmox/warm_worker.py, which say why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class PoolBusy(Exception):
    """More calls wait for this pool than it is willing to queue."""


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a pool is: calls on threads, how many there may be, calls that wait, how many may."""

    running: int
    workers: int
    waiting: int
    most_waiting: int


class BlockingPool:
    """A named pool of threads with a bounded queue and a deadline for every caller.

    A deadline ends the caller's wait, not the thread: a blocking call needs a timeout of its own
    (socket, busy_timeout, connect_timeout), or the pool would fill up with the hung.
    """

    def __init__(self, name: str, workers: int, waiting: int = 256) -> None:
        """``workers``: threads; ``waiting``: how many further calls may queue before PoolBusy."""
        self.name = name
        self._workers = workers
        self._limit = workers + waiting
        self._pending = 0
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=name)

    async def run(self, timeout: float, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fn`` on a thread; raise TimeoutError after ``timeout`` seconds, PoolBusy when overloaded."""
        if self._pending >= self._limit:
            raise PoolBusy(self.name)
        loop = asyncio.get_running_loop()
        self._pending += 1
        future = loop.run_in_executor(self._executor, lambda: fn(*args, **kwargs))
        future.add_done_callback(self._done)
        # Shielded, so that a caller who gives up neither cancels a call that has begun nor frees its place.
        return await asyncio.wait_for(asyncio.shield(future), timeout)

    @property
    def load(self) -> Load:
        """How busy it is."""
        running = min(self._pending, self._workers)
        return Load(running, self._workers, self._pending - running, self._limit - self._workers)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._pending -= 1
        if not future.cancelled():
            future.exception()  # retrieved: a caller that timed out must not leave "never retrieved" behind

    def close(self) -> None:
        """Refuse new calls, drop queued ones, and wait for those that run (each has its own timeout)."""
        self._executor.shutdown(wait=True, cancel_futures=True)
