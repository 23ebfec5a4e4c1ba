"""Power and resets that outlive the request that asked for them: begun in turns, watched, their ends kept and shown."""

from __future__ import annotations

import asyncio
import enum
import itertools
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from cyberlab import problems
from cyberlab.auth import grants
from cyberlab.auth.grants import Grant
from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Vm, utcnow
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Cluster, Upid

log = logging.getLogger(__name__)

AT_ONCE = 10  # operations under way on one cluster
OF_ONE = 7  # of them one person's: a class that is switched on leaves room for the student next door
TELL_FAILURE = 300.0  # seconds that a failure is shown with the machine
SETTLE = 15.0  # seconds that a cluster's list may still tell the state of before (pvestatd runs every ten)
KEEP = 3600.0  # seconds that an end can be looked up
MOST_KEPT = 5000
INVENTORY_AGE = 10.0


class Act(enum.StrEnum):
    """What can be done to a machine; the audit calls it ``vm.start`` and so on."""

    START = "start"
    SHUTDOWN = "shutdown"
    REBOOT = "reboot"
    STOP = "stop"
    RESET = "reset"  # back to a snapshot


# Seconds for the task. A guest has 60 s to shut down unless its options say more; a rollback copies disks at worst.
_SECONDS = {Act.START: 180.0, Act.SHUTDOWN: 240.0, Act.REBOOT: 300.0, Act.STOP: 120.0, Act.RESET: 1200.0}
_LEADS_TO = {Act.START: "running", Act.SHUTDOWN: "stopped", Act.REBOOT: "running", Act.STOP: "stopped"}


class Phase(enum.StrEnum):
    """How far an operation is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Operation:
    """One act on one machine, under way or ended; ``leads_to``: the state that it left the machine in, if known."""

    id: int
    vm: Vm
    act: Act
    snapshot: str  # for a reset
    grant: Grant
    phase: Phase = Phase.WAITING
    problem: Problem | None = None
    leads_to: str = ""
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended_at: float = 0.0  # time.monotonic()
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def actor(self) -> Actor:
        """Who asked for it."""
        return self.grant.actor

    @property
    def busy(self) -> bool:
        """Whether it has not ended."""
        return self.phase in (Phase.WAITING, Phase.RUNNING)

    @property
    def settling(self) -> bool:
        """Whether it has succeeded so recently that the cluster's list may not show it."""
        return self.phase == Phase.DONE and time.monotonic() - self.ended_at < SETTLE

    def worth_telling(self) -> bool:
        """Whether it still says something about the machine."""
        kept = TELL_FAILURE if self.phase == Phase.FAILED else SETTLE
        return self.busy or time.monotonic() - self.ended_at < kept

    def end(self, problem: Problem | None = None) -> None:
        """Note how it ended."""
        self.phase = Phase.FAILED if problem else Phase.DONE
        self.problem = problem
        self.ended_at = time.monotonic()
        self.ended.set()


@dataclass(slots=True, eq=False)
class Batch:
    """The same for many machines; ``group_id``: the class that it was asked for, or 0."""

    id: int
    group_id: int
    act: Act
    actor: Actor
    operations: Sequence[Operation]
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def count(self, *phases: Phase) -> int:
        """How many of its operations are in one of these phases."""
        return sum(operation.phase in phases for operation in self.operations)

    @property
    def busy(self) -> bool:
        """Whether one of them has not ended."""
        return any(operation.busy for operation in self.operations)

    @property
    def ended_at(self) -> float:
        """When the last of them ended (time.monotonic())."""
        return max((operation.ended_at for operation in self.operations), default=0.0)


class _Lane:
    """One cluster's operations: who asks for many waits behind who asks for one."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[object, deque[Operation]] = OrderedDict()
        self._running: Counter[object] = Counter()

    @staticmethod
    def _whose(operation: Operation) -> object:
        return operation.actor.user_id or operation.actor.name

    def add(self, operation: Operation) -> None:
        self._waiting.setdefault(self._whose(operation), deque()).append(operation)

    def next(self) -> Operation | None:
        """Who may begin now, taking turns among people."""
        if self._running.total() >= AT_ONCE:
            return None
        whose = next((key for key in self._waiting if self._running[key] < OF_ONE), None)
        if whose is None:
            return None
        queue = self._waiting.pop(whose)
        operation = queue.popleft()
        if queue:
            self._waiting[whose] = queue  # behind the others
        self._running[whose] += 1
        return operation

    def left(self, operation: Operation) -> None:
        self._running[self._whose(operation)] -= 1

    def clear(self) -> list[Operation]:
        found = [operation for queue in self._waiting.values() for operation in queue]
        self._waiting.clear()
        return found


class Operations:
    """At most one operation a machine, by the portal's id of it; owns the tasks."""

    def __init__(self, database: Database, clusters: Mapping[str, Cluster]) -> None:
        """``database``: for the audit, and for rights."""
        self._database = database
        self._clusters = clusters
        self._lanes: dict[str, _Lane] = {}
        self._by_vm: dict[int, Operation] = {}
        self._by_id: OrderedDict[int, Operation] = OrderedDict()
        self._batches: OrderedDict[int, Batch] = OrderedDict()
        self._tasks: dict[asyncio.Task[None], Operation] = {}
        self._ids = itertools.count(1)
        self._closed = False

    # --- asking for something

    async def begin(self, grant: Grant, vm: Vm, act: Act, snapshot: str = "") -> Operation:
        """Have it done behind the page; raise Problem(OPERATION_BUSY) while something else is under way there."""
        busy = self.of(vm.id)
        if busy is not None and busy.busy:
            raise Problem(problems.OPERATION_BUSY, f"{busy.act} of {vm.label} is under way")
        operation = self._new(grant, vm, act, snapshot)
        await self._register([operation], "")
        return operation

    async def begin_many(self, grant: Grant, act: Act, wanted: Iterable[tuple[Vm, str]], detail: str = "") -> Batch:
        """The same for many machines, each with its snapshot ("" unless it is a reset).

        What cannot be begun (busy with something else) is among the failures of the batch. ``detail``: for the audit.
        """
        operations = [self._new(grant, vm, act, snapshot) for vm, snapshot in wanted]
        free = []
        for operation in operations:
            known = self.of(operation.vm.id)
            if known is not None and known.busy:
                operation.end(Problem(problems.OPERATION_BUSY, f"{known.act} is under way"))
            elif act == Act.RESET and not operation.snapshot:
                operation.end(Problem(problems.SNAPSHOT_GONE, "none is named"))
            else:
                free.append(operation)
        batch = Batch(next(self._ids), grant.group_id, act, grant.actor, operations)
        await self._register(free, detail)
        self._batches[batch.id] = batch
        return batch

    def _new(self, grant: Grant, vm: Vm, act: Act, snapshot: str) -> Operation:
        return Operation(next(self._ids), vm, act, snapshot if act == Act.RESET else "", grant)

    async def _register(self, operations: list[Operation], detail: str) -> None:
        """Write down who asked for what; only then does anything happen."""
        if self._closed:
            raise Problem(problems.SHUTTING_DOWN)
        self._forget()
        for operation in operations:
            self._by_vm[operation.vm.id] = self._by_id[operation.id] = operation
        try:
            await self._database.run(_record, [(operation, _asked(operation, detail)) for operation in operations])
        except BaseException:
            for operation in operations:
                operation.end(Problem(problems.INTERNAL, "the audit could not be written"))
            raise
        for operation in operations:
            self._lanes.setdefault(operation.vm.cluster, _Lane()).add(operation)
        for name in {operation.vm.cluster for operation in operations}:
            self._pump(name)

    # --- looking

    def of(self, vm_id: int) -> Operation | None:
        """A machine's operation if it is under way or has just ended."""
        operation = self._by_vm.get(vm_id)
        if operation is not None and not operation.worth_telling():
            del self._by_vm[vm_id]
            return None
        return operation

    def get(self, operation_id: int) -> Operation | None:
        """An operation by its number, for an hour after its end."""
        return self._by_id.get(operation_id)

    def batch(self, batch_id: int) -> Batch | None:
        """A batch by its number, for an hour after its end."""
        return self._batches.get(batch_id)

    def newest_batch(self, group_id: int) -> Batch | None:
        """What was last asked for a class."""
        return next((batch for batch in reversed(self._batches.values()) if batch.group_id == group_id), None)

    def _forget(self) -> None:
        """Drop what nobody asks about any more."""
        limit = time.monotonic() - KEEP
        for number, batch in list(self._batches.items()):
            if not batch.busy and batch.ended_at < limit:
                del self._batches[number]
        for number, operation in list(self._by_id.items()):
            if not operation.busy and (operation.ended_at < limit or len(self._by_id) > MOST_KEPT):
                del self._by_id[number]
        for vm_id in list(self._by_vm):
            self.of(vm_id)

    # --- doing it

    def _pump(self, name: str) -> None:
        lane = self._lanes[name]
        while not self._closed and (operation := lane.next()) is not None:
            operation.phase = Phase.RUNNING
            task = asyncio.create_task(self._run(lane, operation))
            self._tasks[task] = operation
            task.add_done_callback(self._tasks.pop)

    async def _run(self, lane: _Lane, operation: Operation) -> None:
        problem: Problem | None = Problem(problems.SHUTTING_DOWN)
        what = f"{operation.act} of {operation.vm.label} for {operation.actor.name}"
        try:
            await self._carry_out(operation)
            problem = None
        except Problem as found:
            log.warning("%s failed: %s", what, found)
            problem = found
        except Exception:
            log.exception("%s failed", what)
            problem = Problem(problems.INTERNAL)
        finally:
            operation.end(problem)
            lane.left(operation)
            self._pump(operation.vm.cluster)
        try:
            await self._database.run(_record, [(operation, _how_it_ended(operation))])
        except Exception as error:
            log.error("the end of %s could not be written to the audit: %s", what, error)

    async def _carry_out(self, operation: Operation) -> None:
        vm, act = operation.vm, operation.act
        cluster = self._clusters.get(vm.cluster)
        if cluster is None:
            raise Problem(problems.SSH_REFUSED, f"no cluster {vm.cluster!r} in the settings")
        found = (await cluster.resources(INVENTORY_AGE)).resources.get(vm.vmid)
        node = found.node if found is not None else vm.node  # it may have moved
        kind = vm.kind.value
        upid: Upid | None
        try:
            if act == Act.RESET:
                # Asked itself: the list may be ten seconds behind, and who resets has often just tried something.
                start = (await cluster.status(node, kind, vm.vmid)).status == "running"
                await self._ask_again(operation)
                upid = await cluster.rollback(node, kind, vm.vmid, operation.snapshot, start)
                operation.leads_to = "running" if start else ""
            else:
                await self._ask_again(operation)
                upid = await cluster.begin(node, kind, vm.vmid, act.value)
                operation.leads_to = _LEADS_TO[act]
            await cluster.finish(upid, _SECONDS[act])
        except Problem as problem:
            # What is off already need not be switched off: two people may click at the same time.
            if problem.code != problems.VM_STOPPED or act not in (Act.SHUTDOWN, Act.STOP):
                raise
        except ValueError as error:
            raise Problem(problems.SNAPSHOT_GONE, str(error)) from None

    async def _ask_again(self, operation: Operation) -> None:
        """Its turn may come minutes after it was asked for: raise Problem if the right to it has ended since."""
        grant = operation.grant
        if grant.actor.user_id is None:  # a tool's, which nobody can take a right from
            return
        if not await self._database.run(grants.holds, grant, operation.vm.id, operation.begun_at, utcnow()):
            raise Problem(problems.RIGHT_ENDED, f"what let {grant.actor.name} ask for it is gone")

    async def close(self) -> None:
        """Give up what is under way; the clusters carry on with what they have begun."""
        self._closed = True
        for lane in self._lanes.values():
            for operation in lane.clear():
                operation.end(Problem(problems.SHUTTING_DOWN))
        tasks = dict(self._tasks)
        for task, operation in tasks.items():
            if operation.busy:  # what has ended is only being written down
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _record(s: Session, rows: list[tuple[Operation, tuple[str, str]]]) -> None:
    known = {actor: audit.still_known(s, actor) for actor in {operation.actor for operation, _ in rows}}
    for operation, (action, detail) in rows:
        audit.record(s, known[operation.actor], action, f"vm {operation.vm.label}", detail)


def _asked(operation: Operation, detail: str) -> tuple[str, str]:
    return f"vm.{operation.act}", ", ".join(filter(None, (_to(operation), detail)))


def _how_it_ended(operation: Operation) -> tuple[str, str]:
    if operation.problem is None:
        return f"vm.{operation.act}.done", _to(operation)
    return f"vm.{operation.act}.failed", ", ".join(filter(None, (_to(operation), str(operation.problem))))


def _to(operation: Operation) -> str:
    return f"to {operation.snapshot}" if operation.snapshot else ""
