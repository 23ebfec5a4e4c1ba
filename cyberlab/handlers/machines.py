"""What state machines are in, as far as the clusters say so in time, and what is being done with them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cyberlab.db.models import Vm
from cyberlab.handlers.operations import Act, Operation, Phase
from cyberlab.handlers.portal import Portal
from cyberlab.phrases import Phrase
from cyberlab.problems import ASK_ADMIN, NODE_OFFLINE, Problem
from cyberlab.proxmox.cluster import Cluster, Inventory

PATIENCE = 15.0  # seconds that an answer about states may take; pages are drawn before it
STALE = 15.0  # seconds after which a state is shown as that of a while ago
KNOWN = {"running": Phrase("running"), "stopped": Phrase("stopped"), "paused": Phrase("paused")}
DOING = {
    Act.START: Phrase("starting…"),
    Act.SHUTDOWN: Phrase("shutting down…"),
    Act.REBOOT: Phrase("restarting…"),
    Act.STOP: Phrase("being switched off…"),
    Act.RESET: Phrase("being reset…"),
}
LATER = Phrase("Try again in a minute; if it stays, tell your lab's admin.")
WAITING = Phrase("waiting for its turn…")
FAILED = {
    Act.START: Phrase("It could not be started:"),
    Act.SHUTDOWN: Phrase("It could not be shut down:"),
    Act.REBOOT: Phrase("It could not be restarted:"),
    Act.STOP: Phrase("It could not be switched off:"),
    Act.RESET: Phrase("It could not be reset:"),
}


@dataclass(frozen=True, slots=True)
class State:
    """One machine's state: ``state`` chooses the shape, ``word`` is for people.

    ``busy``: something is being done with it; ``failed``, ``problem``: what was, and why it did not work.
    """

    state: str
    word: str
    stale: bool = False
    busy: bool = False
    failed: Act | None = None
    problem: Problem | None = None

    def shown(self, translate: Callable[..., str]) -> dict[str, object]:
        """As states.js reads it."""
        word = translate(self.word)
        problem = help_ = None
        if self.failed is not None and self.problem is not None:
            problem = f"{translate(FAILED[self.failed])} {explained(self.problem, translate)}"
            help_ = help_on(self.problem)
        return {
            "state": self.state,
            "word": translate(Phrase("%(state)s, a while ago", state=word)) if self.stale else word,
            "stale": self.stale,
            "busy": self.busy,
            "problem": problem,
            "help": help_,
        }


def explained(problem: Problem, translate: Callable[..., str]) -> str:
    """What went wrong and what to do, where no request id is to be seen."""
    advice = problem.advice
    user = LATER if advice.user == ASK_ADMIN else advice.user
    return f"{translate(advice.title)}. {translate(user)}"


def help_on(problem: Problem) -> str:
    """Where more is said about it."""
    return f"/help/{problem.code}"


UNKNOWN = State("unknown", Phrase("unknown"))
OFFLINE = Phrase("unknown: its host does not answer")
GONE = State("gone", Phrase("not on the cluster any more"))


async def ask(cluster: Cluster, max_age: float, patience: float) -> Inventory | Problem:
    """A cluster's inventory, or why there is none."""
    try:
        return await asyncio.wait_for(cluster.resources(max_age), patience)
    except Problem as problem:
        return problem
    except TimeoutError:
        return Problem(NODE_OFFLINE, f"{cluster.name} gave no inventory within {patience:.0f} s")


async def report(
    portal: Portal, vms: Iterable[Vm], translate: Callable[..., str], advice: str = ""
) -> dict[str, object]:
    """What states.js asks for: ``{"machines": {id: {state, word, …}}, "message": text or null}``.

    ``advice``: what it means for the viewer when a cluster does not answer.
    """
    found, messages = await states(portal, vms)
    return shown(found, messages, translate, advice)


def shown(
    found: dict[int, State], messages: list[str], translate: Callable[..., str], advice: str = ""
) -> dict[str, object]:
    """The same of what states() has found."""
    words = f"{'; '.join(map(translate, messages))}. {translate(advice) if advice else ''}".rstrip()
    return {
        "machines": {vm_id: state.shown(translate) for vm_id, state in found.items()},
        "message": words if messages else None,
    }


def version(parts: Iterable[object]) -> str:
    """Changes when a page that shows these is no longer right: states.js then draws it anew."""
    return hashlib.blake2b(" ".join(map(str, parts)).encode(), digest_size=8).hexdigest()


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
    found = {vm.id: _state(vm, known.get(vm.cluster), oldest, portal.operations.of(vm.id)) for vm in wanted}
    return found, sorted(messages)


def _state(vm: Vm, inventory: Inventory | None, oldest: datetime, operation: Operation | None) -> State:
    if operation is not None and operation.busy:
        return State("checking", WAITING if operation.phase == Phase.WAITING else DOING[operation.act], busy=True)
    state = _listed(vm, inventory, oldest)
    if operation is None:
        return state
    if operation.settling and operation.leads_to and state.state in ("running", "stopped"):
        return State(operation.leads_to, KNOWN[operation.leads_to])
    return replace(state, failed=operation.act, problem=operation.problem) if operation.problem else state


def _listed(vm: Vm, inventory: Inventory | None, oldest: datetime) -> State:
    if inventory is None:  # none since the portal began to run; what was written down before is old
        return State(vm.status, KNOWN[vm.status], stale=True) if vm.status in KNOWN else UNKNOWN
    found = inventory.resources.get(vm.vmid)
    if found is None:
        return GONE
    stale = inventory.as_of < oldest
    if found.status not in KNOWN:
        return State("unknown", OFFLINE if found.status == "unknown" else UNKNOWN.word, stale)
    word = KNOWN[found.status]
    if found.lock:
        word = Phrase("%(state)s, busy: %(task)s", state=word, task=found.lock)
    return State(found.status, word, stale)
