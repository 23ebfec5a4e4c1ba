"""Which snapshots machines have in common, for who chooses one for many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cyberlab.db.models import Vm
from cyberlab.problems import Problem
from cyberlab.proxmox.answers import rollback_path
from cyberlab.proxmox.cluster import Cluster

PATIENCE = 20.0  # seconds; what is known by then is offered
AT_ONCE = 4  # machines being asked about
FRESH = 30.0  # seconds that a machine's list is believed
ASKED = 60  # machines of a selection that are asked about; the others are probably alike


@dataclass(frozen=True, slots=True)
class Common:
    """``names``: those that every machine that answered has, newest first; ``silent``: how many did not answer."""

    names: list[str]
    answered: int
    silent: int


def is_name(name: str) -> bool:
    """Whether a snapshot may have that name."""
    try:
        rollback_path("node", "qemu", 100, name)
    except ValueError:
        return False
    return True


class SnapshotLists:
    """Asks a few machines at a time, and remembers the answers for half a minute."""

    def __init__(self, clusters: Mapping[str, Cluster]) -> None:
        self._clusters = clusters
        self._known: dict[int, tuple[float, list[str]]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def common(self, vms: Sequence[Vm]) -> Common:
        """What these machines have in common."""
        tasks = [asyncio.create_task(self._of(vm)) for vm in vms[:ASKED]]
        if not tasks:
            return Common([], 0, 0)
        try:
            done, _ = await asyncio.wait(tasks, timeout=PATIENCE)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        lists = [task.result() for task in tasks if task in done]
        answered = [names for names in lists if names is not None]
        first = answered[0] if answered else []
        names = [name for name in first if all(name in other for other in answered)]
        return Common(names, len(answered), len(tasks) - len(answered))

    async def _of(self, vm: Vm) -> list[str] | None:
        async with self._room:
            known = self._known.get(vm.id)
            if known is not None and time.monotonic() - known[0] < FRESH:
                return known[1]
            cluster = self._clusters.get(vm.cluster)
            if cluster is None:
                return None
            try:
                found = await cluster.snapshots(vm.node, vm.kind.value, vm.vmid)
            except Problem:
                return None
        found = sorted(found, key=lambda row: row.taken_at.timestamp() if row.taken_at else 0.0, reverse=True)
        now = time.monotonic()
        self._known = {key: value for key, value in self._known.items() if now - value[0] < FRESH}
        self._known[vm.id] = now, [row.name for row in found]
        return [row.name for row in found]
