"""What state machines are in, as far as the clusters say so in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cyberlab.db.models import Vm
from cyberlab.handlers.errands import Errand
from cyberlab.handlers.portal import Portal
from cyberlab.problems import NODE_OFFLINE, Problem
from cyberlab.proxmox.cluster import Cluster, Inventory

PATIENCE = 15.0  # seconds that an answer about states may take; pages are drawn before it
STALE = 15.0  # seconds after which a state is shown as that of a while ago
KNOWN = ("running", "stopped", "paused")


@dataclass(frozen=True, slots=True)
class State:
    """One machine's state: ``state`` chooses the shape, ``word`` is for people."""

    state: str
    word: str
    stale: bool = False


UNKNOWN = State("unknown", "unknown")
STARTING = State("checking", "starting…")
RUNNING = State("running", "running")


async def ask(cluster: Cluster, max_age: float, patience: float) -> Inventory | Problem:
    """A cluster's inventory, or why there is none."""
    try:
        return await asyncio.wait_for(cluster.resources(max_age), patience)
    except Problem as problem:
        return problem
    except TimeoutError:
        return Problem(NODE_OFFLINE, f"{cluster.name} gave no inventory within {patience:.0f} s")


async def states(portal: Portal, vms: Iterable[Vm]) -> tuple[dict[int, State], list[str]]:
    """The states by the portal's id of the VM, and what to tell the viewer about clusters that gave none.

    Where a cluster does not answer now, what it said last is shown, marked as old.
    """
    wanted = list(vms)
    names = sorted({vm.cluster for vm in wanted if vm.cluster in portal.clusters})
    max_age = portal.config.inventory_max_age
    answers = await asyncio.gather(*(ask(portal.clusters[name], max_age, PATIENCE) for name in names))
    known: dict[str, Inventory | None] = {}
    messages = set()
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, Problem):
            messages.add(answer.advice.title)
            known[name] = portal.clusters[name].last_inventory
        else:
            known[name] = answer
    oldest = datetime.now(UTC) - timedelta(seconds=STALE)
    found = {vm.id: _state(vm, known.get(vm.cluster), oldest, portal.errands.of(vm.id)) for vm in wanted}
    return found, sorted(messages)


def _state(vm: Vm, inventory: Inventory | None, oldest: datetime, errand: Errand | None) -> State:
    if errand is not None and errand.running:
        return STARTING
    if inventory is None:  # since the portal began to run; what was written down before is old
        return State(vm.status, vm.status, True) if vm.status in KNOWN else UNKNOWN
    found = inventory.resources.get(vm.vmid)
    if found is None:
        return State("gone", "not on the cluster")
    state = found.status if found.status in KNOWN else "unknown"
    if errand is not None and errand.settling and state == "stopped":
        return RUNNING
    word = f"{state}, busy: {found.lock}" if found.lock else state
    if errand is not None and errand.problem is not None:
        word = f"{state}; it could not be started: {errand.problem.advice.title}"
    return State(state, word, inventory.as_of < oldest)
