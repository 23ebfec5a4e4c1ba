"""What state machines are in, as far as the clusters say so in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cyberlab.db.models import Vm
from cyberlab.handlers.portal import Portal
from cyberlab.problems import NODE_OFFLINE, Problem

if TYPE_CHECKING:
    from cyberlab.proxmox.cluster import Cluster, Inventory

PATIENCE = 15.0  # seconds that an answer about states may take; pages are drawn before it
STALE = 3  # so many times the wanted age make a state "a while ago"
KNOWN = ("running", "stopped", "paused")


@dataclass(frozen=True, slots=True)
class State:
    """One machine's state: ``state`` chooses the shape, ``word`` is for people."""

    state: str
    word: str
    stale: bool = False


UNKNOWN = State("unknown", "unknown")


async def ask(cluster: Cluster, max_age: float, patience: float = PATIENCE) -> Inventory | Problem:
    """A cluster's inventory, or why there is none."""
    try:
        return await asyncio.wait_for(cluster.resources(max_age), patience)
    except Problem as problem:
        return problem
    except TimeoutError:
        return Problem(NODE_OFFLINE, f"{cluster.name} gave no inventory within {patience:.0f} s")


async def states(portal: Portal, vms: Iterable[Vm]) -> tuple[dict[int, State], list[str]]:
    """The states by the portal's id of the VM, and what to tell the viewer about clusters that gave none."""
    wanted = list(vms)
    names = [name for name in {vm.cluster for vm in wanted} if name in portal.clusters]
    max_age = portal.config.inventory_max_age
    answers = dict(
        zip(names, await asyncio.gather(*(ask(portal.clusters[name], max_age) for name in names)), strict=True)
    )
    messages = sorted({answer.advice.title for answer in answers.values() if isinstance(answer, Problem)})
    oldest = max_age * STALE
    return {vm.id: _state(vm, answers.get(vm.cluster), oldest) for vm in wanted}, messages


def _state(vm: Vm, answer: Inventory | Problem | None, oldest: float) -> State:
    if answer is None or isinstance(answer, Problem):
        return UNKNOWN
    found = answer.resources.get(vm.vmid)
    if found is None:
        return State("gone", "not on the cluster")
    stale = (datetime.now(UTC) - answer.as_of).total_seconds() > oldest
    word = found.status if found.status in KNOWN else "unknown"
    return State(word, f"{word}, busy: {found.lock}" if found.lock else word, stale)
