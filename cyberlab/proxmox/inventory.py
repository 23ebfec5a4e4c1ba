"""What the cluster has, asked once for however many look (`/cluster/resources`, fed by pvestatd every ten seconds)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cyberlab.proxmox.answers import Resource
from cyberlab.proxmox.flight import Flight


@dataclass(frozen=True, slots=True)
class Inventory:
    """All guests of a cluster by VMID, and when that was asked."""

    as_of: datetime
    resources: Mapping[int, Resource]


class InventoryCache:
    """Keeps the last inventory; one call in flight for any number of waiters."""

    def __init__(self, fetch: Callable[[], Awaitable[list[Resource]]]) -> None:
        """``fetch`` asks the cluster; it has its own deadline."""
        self._fetch = fetch
        self._asked_at = float("-inf")
        self._flight: Flight[Inventory] = Flight()
        self.last: Inventory | None = None

    async def get(self, max_age: float) -> Inventory:
        """An inventory not older than ``max_age`` seconds; whatever ``fetch`` raises, and then ``last`` stays."""
        if self.last is not None and time.monotonic() - self._asked_at <= max_age:
            return self.last
        return await self._flight.join(self._renew)

    async def _renew(self) -> Inventory:
        asked_at, as_of = time.monotonic(), datetime.now(UTC)
        rows = await self._fetch()
        self.last = Inventory(as_of, {row.vmid: row for row in rows})
        self._asked_at = asked_at
        return self.last

    def close(self) -> None:
        """End a call in flight."""
        self._flight.close()
