"""Keeps the portal's machines as their clusters have them, however many people look.

Pages that show states ask a cluster themselves; all of them share one answer that may be ten seconds old. What came
that way is written down here, and where nobody looks, the cluster is asked once a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime

from cyberlab.db import inventory
from cyberlab.db.engine import Database
from cyberlab.problems import PVESH_TIMEOUT, Problem
from cyberlab.proxmox.cluster import Cluster, Inventory

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0  # how late what pages have asked for is written down
ASK_SECONDS = 60.0  # how old an inventory becomes where nobody looks
ASK_TIMEOUT = 30.0
LONGEST_BACK_OFF = 300.0
LOST_SECONDS = 300.0  # without an answer for so long, the states are not known any more
NODES_SECONDS = 60.0  # how often the nodes are asked about while machines are missing


class ClusterWatch:
    """One cluster's part."""

    def __init__(self, database: Database, cluster: Cluster) -> None:
        """Nothing runs before ``run``."""
        self._database = database
        self._cluster = cluster
        self._written: datetime | None = None  # the inventory whose contents the rows have
        self._answered_at = float("-inf")
        self._ask_at = float("-inf")
        self._nodes_at = float("-inf")
        self._failures = 0
        self._lost = False
        self._since = 0.0

    async def run(self) -> None:
        """Look until cancelled; what fails is tried again, and said once."""
        self._since = asyncio.get_running_loop().time()
        failing = False
        while True:
            try:
                await self.look()
                failing = False
            except Exception as error:
                if not failing:
                    log.error("the inventory of %s cannot be written down: %s", self._cluster.name, error)
                failing = True
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One look: ask if it is time, and write what is new."""
        now = asyncio.get_running_loop().time()
        newest = self._cluster.last_inventory
        if newest is None or newest.as_of == self._written:
            newest = await self._ask(now) if now >= self._ask_at else None
        if newest is not None and newest.as_of != self._written:
            self._answered_at, self._failures, self._lost = now, 0, False
            self._ask_at = now + ASK_SECONDS
            await self._write(newest, now)
        elif not self._lost and now - max(self._answered_at, self._since) >= LOST_SECONDS:
            await self._database.run(inventory.lost, self._cluster.name)
            self._lost = True

    async def _ask(self, now: float) -> Inventory | None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                return await self._cluster.resources(ASK_SECONDS / 2)
        except (Problem, TimeoutError) as error:
            problem = error if isinstance(error, Problem) else Problem(PVESH_TIMEOUT, "no inventory")
            if not self._failures:
                log.warning("%s gives no inventory: %s", self._cluster.name, problem)
            self._failures += 1
            self._ask_at = now + min(ASK_SECONDS * 2 ** (self._failures - 1) / 4, LONGEST_BACK_OFF)
            return None

    async def _write(self, found: Inventory, now: float) -> None:
        name, guests = self._cluster.name, list(found.resources.values())
        plan = await self._database.run(inventory.compare, name, guests, found.as_of)
        if plan.new or plan.changed:
            await self._database.run(inventory.sync, name, guests, found.as_of)
        if plan.missing and not guests:
            # What a token without rights gets as well: no reason to call a whole cluster vanished.
            await self._database.run(inventory.lost, name)
        elif plan.missing and now - self._nodes_at >= NODES_SECONDS:
            self._nodes_at = now
            await self._vanish(found)
        self._written = found.as_of

    async def _vanish(self, found: Inventory) -> None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                nodes = await self._cluster.nodes()
        except (Problem, TimeoutError) as error:
            log.info("%s does not say which nodes are online: %s", self._cluster.name, error)
            return
        run = self._database.run
        gone = await run(inventory.vanish, self._cluster.name, set(found.resources), found.as_of, nodes)
        if gone:
            more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
            log.warning("no more on their cluster: %s%s", ", ".join(gone[:5]), more)


class InventoryWatch:
    """All clusters, side by side, so that one that hangs holds up no other."""

    def __init__(self, database: Database, clusters: Mapping[str, Cluster]) -> None:
        """``clusters``: by name."""
        self._watches = [ClusterWatch(database, cluster) for cluster in clusters.values()]

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())
