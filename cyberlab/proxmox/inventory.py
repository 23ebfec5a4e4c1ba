"""What the cluster has, asked once for however many look (`/cluster/resources`, fed by pvestatd every ten seconds)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cyberlab.problems import Problem
from cyberlab.proxmox.answers import Resource
from cyberlab.proxmox.flight import Flight

_LONGEST_BACK_OFF = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class Inventory:
    """All guests of a cluster by VMID, and when that was asked."""

    as_of: datetime
    resources: Mapping[int, Resource]

    @property
    def age(self) -> float:
        """How many seconds old it is."""
        return (datetime.now(UTC) - self.as_of).total_seconds()


class InventoryCache:
    """Keeps the last inventory; one call in flight for any number of waiters."""

    def __init__(self, fetch: Callable[[], Awaitable[list[Resource]]]) -> None:
        """``fetch`` asks the cluster; it has its own deadline."""
        self._fetch = fetch
        self._asked_at = float("-inf")
        self._flight: Flight[Inventory] = Flight()
        self._failures = 0
        self._again_at = float("-inf")
        self.last: Inventory | None = None
        self.problem: Problem | None = None  # why the newest call gave none

    async def get(self, max_age: float) -> Inventory:
        """An inventory not older than ``max_age`` seconds; whatever ``fetch`` raises, and then ``last`` stays."""
        now = time.monotonic()
        if self.last is not None and now - self._asked_at <= max_age:
            return self.last
        # A cluster that is down is not asked for every page anew; who wants to know now (max_age 0), does.
        if max_age > 0 and self.problem is not None and now < self._again_at:
            raise Problem(self.problem.code, self.problem.detail)
        return await self._flight.join(self._renew)

    async def _renew(self) -> Inventory:
        asked_at, as_of = time.monotonic(), datetime.now(UTC)
        try:
            rows = await self._fetch()
        except Problem as problem:
            self.problem = problem
            self._again_at = time.monotonic() + min(2.0**self._failures, _LONGEST_BACK_OFF)
            self._failures = min(self._failures + 1, 10)
            raise
        self.problem, self._failures = None, 0
        self.last = Inventory(as_of, {row.vmid: row for row in rows})
        self._asked_at = asked_at
        return self.last

    def close(self) -> None:
        """End a call in flight."""
        self._flight.close()
