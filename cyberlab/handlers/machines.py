"""What state machines are in, as far as the clusters say so in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cyberlab.db.models import Vm
from cyberlab.handlers.errands import Errand
from cyberlab.handlers.portal import Portal
from cyberlab.phrases import Phrase
from cyberlab.problems import NODE_OFFLINE, Problem
from cyberlab.proxmox.cluster import Cluster, Inventory

PATIENCE = 15.0  # seconds that an answer about states may take; pages are drawn before it
STALE = 15.0  # seconds after which a state is shown as that of a while ago
KNOWN = {"running": Phrase("running"), "stopped": Phrase("stopped"), "paused": Phrase("paused")}


@dataclass(frozen=True, slots=True)
class State:
    """One machine's state: ``state`` chooses the shape, ``word`` is for people."""

    state: str
    word: str
    stale: bool = False

    def shown(self, translate: Callable[[str], str]) -> dict[str, object]:
        """As states.js reads it."""
        return {"state": self.state, "word": translate(self.word), "stale": self.stale}


UNKNOWN = State("unknown", Phrase("unknown"))
STARTING = State("checking", Phrase("starting…"))
RUNNING = State("running", Phrase("running"))


async def ask(cluster: Cluster, max_age: float, patience: float) -> Inventory | Problem:
    """A cluster's inventory, or why there is none."""
    try:
        return await asyncio.wait_for(cluster.resources(max_age), patience)
    except Problem as problem:
        return problem
    except TimeoutError:
        return Problem(NODE_OFFLINE, f"{cluster.name} gave no inventory within {patience:.0f} s")


async def report(
    portal: Portal, vms: Iterable[Vm], translate: Callable[[str], str], advice: str = ""
) -> dict[str, object]:
    """What states.js asks for: ``{"machines": {id: {state, word, stale}}, "message": text or null}``.

    ``advice``: what it means for the viewer when a cluster does not answer.
    """
    found, messages = await states(portal, vms)
    words = f"{'; '.join(map(translate, messages))}. {translate(advice)}".rstrip()
    return {
        "machines": {vm_id: state.shown(translate) for vm_id, state in found.items()},
        "message": words if messages else None,
    }


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
        return State(vm.status, KNOWN[vm.status], True) if vm.status in KNOWN else UNKNOWN
    found = inventory.resources.get(vm.vmid)
    if found is None:
        return State("gone", Phrase("not on the cluster"))
    state = found.status if found.status in KNOWN else "unknown"
    if errand is not None and errand.settling and state == "stopped":
        return RUNNING
    word = KNOWN.get(state, UNKNOWN.word)
    if found.lock:
        word = Phrase("%(state)s, busy: %(task)s", state=word, task=found.lock)
    if errand is not None and errand.problem is not None:
        word = Phrase(
            "%(state)s; it could not be started: %(why)s", state=word, why=Phrase(errand.problem.advice.title)
        )
    return State(state, word, inventory.as_of < oldest)
