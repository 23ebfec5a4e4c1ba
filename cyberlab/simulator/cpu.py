"""The processors of a simulated node: time passes as if its programs shared them, and nothing is burnt here."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import defaultdict


class Cpu:
    """Processor sharing: ``n`` jobs on ``cores`` cores run at full speed up to that number, and share beyond it.

    Kept in virtual time, which runs as fast as each job does: a job ends when that time has grown by its seconds.
    """

    def __init__(self, cores: float = 0.0) -> None:
        """``cores``: 0 for as many as there are jobs."""
        self.cores = cores
        self.used: defaultdict[str, float] = defaultdict(float)  # seconds by kind of work, cancelled work's in full
        self.powered = asyncio.Event()  # cleared while the node is without power: whoever asks it waits
        self.powered.set()
        self._virtual = 0.0
        self._at = 0.0
        self._jobs: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def total(self) -> float:
        """All CPU-seconds so far."""
        return sum(self.used.values())

    @property
    def jobs(self) -> int:
        """How many run now."""
        return len(self._jobs)

    async def work(self, kind: str, seconds: float) -> None:
        """Take that many CPU-seconds; a job has one thread."""
        if seconds <= 0:
            return
        self.used[kind] += seconds
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._advance()
        job = (self._virtual + seconds, next(self._numbers), done)
        heapq.heappush(self._jobs, job)
        self._arm()
        try:
            await done
        except asyncio.CancelledError:
            self._advance()
            if job in self._jobs:
                self._jobs.remove(job)
                heapq.heapify(self._jobs)
            self._arm()
            raise

    def _speed(self) -> float:
        busy = len(self._jobs)
        return 1.0 if not self.cores or busy <= self.cores else self.cores / busy

    def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._jobs:
            self._virtual += (now - self._at) * self._speed()
        self._at = now

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._jobs:
            left = max(0.0, self._jobs[0][0] - self._virtual) / self._speed()
            self._timer = asyncio.get_running_loop().call_later(left, self._finish)

    def _finish(self) -> None:
        self._timer = None
        self._advance()
        while self._jobs and self._jobs[0][0] <= self._virtual + 1e-9:
            done = heapq.heappop(self._jobs)[2]
            if not done.done():
                done.set_result(None)
        self._arm()

    def close(self) -> None:
        """End every job at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        jobs, self._jobs = self._jobs, []
        for _, _, done in jobs:
            done.cancel()
