"""Operations in turns: one a machine, a few a cluster, nobody starved, each end kept and written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from cyberlab.auth.access import Action
from cyberlab.auth.grants import Grant
from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.models import Vm, VmKind
from cyberlab.handlers import operations as module
from cyberlab.handlers.operations import Act, Batch, Operation, Operations, Phase
from cyberlab.problems import (
    INTERNAL,
    OPERATION_BUSY,
    SHUTTING_DOWN,
    SNAPSHOT_GONE,
    SSH_REFUSED,
    VM_LOCKED,
    VM_STOPPED,
    Problem,
)
from cyberlab.proxmox.answers import Upid
from tests.web import FakeCluster, World

# Tools, whose right is not asked about again: how that goes is in test_rights_that_end.py.
TEACHER = Grant(Actor(None, "teacher"), Action.RUN_CLASS, group_id=1)
STUDENT = Grant(Actor(None, "student"), Action.POWER)


def machine(vm_id: int, cluster: str = "pve") -> Vm:
    return Vm(id=vm_id, cluster=cluster, vmid=1000 + vm_id, kind=VmKind.QEMU, node="pve1", name=f"vm-{vm_id}")


@pytest.fixture
def operations(world: World) -> Iterator[Operations]:
    return world.portal.operations


@asynccontextmanager
async def closing(operations: Operations) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await operations.close()


async def settle(condition: object) -> None:
    """Let the loop run until it holds."""
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.001)


def running(batch: Batch) -> int:
    return batch.count(Phase.RUNNING)


async def all_ended(*found: Operation) -> None:
    for operation in found:
        await operation.ended.wait()


@pytest.mark.gen_test
async def test_a_cluster_does_a_few_at_a_time(operations: Operations, world: World) -> None:
    async with closing(operations):
        batch = await operations.begin_many(TEACHER, Act.START, [(machine(n), "") for n in range(1, 31)])
        await settle(lambda: len(world.cluster.asked) == module.OF_ONE)
        assert running(batch) == module.OF_ONE
        assert batch.count(Phase.WAITING) == 30 - module.OF_ONE
        other = await operations.begin_many(STUDENT, Act.START, [(machine(n), "") for n in range(50, 60)])
        await settle(lambda: len(world.cluster.asked) == module.AT_ONCE)
        assert running(other) == module.AT_ONCE - module.OF_ONE, "room is kept for others"
        world.cluster.tasks_may_end.set()
        await all_ended(*batch.operations, *other.operations)
        assert (batch.count(Phase.DONE), other.count(Phase.DONE), batch.busy) == (30, 10, False)


@pytest.mark.gen_test
async def test_people_take_turns(operations: Operations, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    async with closing(operations):
        many = await operations.begin_many(TEACHER, Act.START, [(machine(n), "") for n in range(1, 6)])
        one = await operations.begin(STUDENT, machine(9), Act.START)
        world.cluster.tasks_may_end.set()
        await all_ended(one, *many.operations)
        order = [vmid for _, vmid, _ in world.cluster.asked]
        assert order.index(1009) <= 2, "not behind the whole class"


@pytest.mark.gen_test
async def test_one_operation_a_machine(operations: Operations, world: World) -> None:
    async with closing(operations):
        first = await operations.begin(STUDENT, machine(1), Act.START)
        with pytest.raises(Problem, match="under way") as caught:
            await operations.begin(TEACHER, machine(1), Act.STOP)
        assert caught.value.code == OPERATION_BUSY
        batch = await operations.begin_many(TEACHER, Act.STOP, [(machine(1), ""), (machine(2), "")])
        assert operations.of(1) is first, "the first goes on"
        world.cluster.tasks_may_end.set()
        await all_ended(first, *batch.operations)
        refused, done = batch.operations
        assert refused.problem is not None
        assert (refused.problem.code, done.phase, first.phase) == (OPERATION_BUSY, Phase.DONE, Phase.DONE)
        again = await operations.begin(STUDENT, machine(1), Act.STOP)
        await again.ended.wait()
        assert operations.get(first.id) is first
        assert operations.newest_batch(1) is batch
        assert operations.newest_batch(2) is None


@pytest.mark.parametrize("act", [Act.SHUTDOWN, Act.STOP])
@pytest.mark.gen_test
async def test_what_is_off_already_need_not_be_switched_off(operations: Operations, world: World, act: Act) -> None:
    world.cluster.tasks_may_end.set()
    world.cluster.task_problems[1001] = Problem(VM_STOPPED)
    async with closing(operations):
        operation = await operations.begin(STUDENT, machine(1), act)
        await operation.ended.wait()
        assert (operation.phase, operation.leads_to) == (Phase.DONE, "stopped")


@pytest.mark.gen_test
async def test_a_reset_is_switched_on_again_where_the_machine_ran(operations: Operations, world: World) -> None:
    world.cluster.tasks_may_end.set()
    async with closing(operations):
        for vmid, leads_to in ((100, "running"), (101, "")):
            vm = Vm(id=vmid, cluster="pve", vmid=vmid, kind=VmKind.QEMU, node="pve9", name="x")
            operation = await operations.begin(STUDENT, vm, Act.RESET, "lesson-3")
            await operation.ended.wait()
            assert operation.leads_to == leads_to
        assert world.cluster.asked == [("reset", 100, "lesson-3"), ("reset", 101, "lesson-3")]


@pytest.mark.gen_test
async def test_failures_have_their_cause(
    operations: Operations, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: FakeCluster, node: str, kind: str, vmid: int, action: str) -> Upid:
        raise RuntimeError("nobody expects this")

    world.cluster.tasks_may_end.set()
    world.cluster.task_problems[1001] = Problem(VM_LOCKED, "locked (backup)")
    async with closing(operations):
        locked = await operations.begin(STUDENT, machine(1), Act.START)
        unknown = await operations.begin(STUDENT, machine(2, "elsewhere"), Act.START)
        (unnamed,) = (await operations.begin_many(TEACHER, Act.RESET, [(machine(3), "")])).operations
        await all_ended(locked, unknown, unnamed)
        monkeypatch.setattr(FakeCluster, "begin", broken)
        surprise = await operations.begin(STUDENT, machine(4), Act.START)
        await all_ended(surprise)
        codes = [row.problem.code for row in (locked, unknown, unnamed, surprise) if row.problem]
        assert codes == [VM_LOCKED, SSH_REFUSED, SNAPSHOT_GONE, INTERNAL]
    assert "nobody expects this" in caplog.text


@pytest.mark.gen_test
async def test_who_did_what_and_how_it_ended(operations: Operations, world: World) -> None:
    world.cluster.tasks_may_end.set()
    world.cluster.task_problems[1002] = Problem(SNAPSHOT_GONE, "snapshot 'lesson-3' does not exist")
    async with closing(operations):
        batch = await operations.begin_many(
            TEACHER, Act.RESET, [(machine(1), "lesson-3"), (machine(2), "lesson-3")], "class NetSec"
        )
        await all_ended(*batch.operations)
    with world.database.transaction() as s:
        rows = [(row.actor, row.action, row.object, row.detail) for row in audit.page(s, search="vm.reset").rows]
    assert sorted(rows) == [
        ("teacher", "vm.reset", "vm pve/1001 vm-1", "to lesson-3, class NetSec"),
        ("teacher", "vm.reset", "vm pve/1002 vm-2", "to lesson-3, class NetSec"),
        ("teacher", "vm.reset.done", "vm pve/1001 vm-1", "to lesson-3"),
        (
            "teacher", "vm.reset.failed", "vm pve/1002 vm-2",
            "to lesson-3, snapshot-gone: snapshot 'lesson-3' does not exist",
        ),
    ]  # fmt: skip


@pytest.mark.gen_test
async def test_nothing_happens_that_could_not_be_written_down(
    operations: Operations, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*args: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(type(world.database), "run", fails)
    with pytest.raises(TimeoutError):
        await operations.begin(STUDENT, machine(1), Act.START)
    assert world.cluster.asked == []
    operation = operations.of(1)
    assert operation is not None
    assert not operation.busy
    await operations.close()


@pytest.mark.gen_test
async def test_the_portal_ends_and_the_cluster_goes_on(operations: Operations, world: World) -> None:
    batch = await operations.begin_many(TEACHER, Act.START, [(machine(n), "") for n in range(1, 21)])
    await settle(lambda: running(batch) == module.OF_ONE and len(world.cluster.asked) == module.OF_ONE)
    await operations.close()
    assert {row.problem.code for row in batch.operations if row.problem} == {SHUTTING_DOWN}
    assert not batch.busy
    assert len(world.cluster.asked) == module.OF_ONE, "what waited was not begun"
    with pytest.raises(Problem):
        await operations.begin(TEACHER, machine(1), Act.START)


@pytest.mark.gen_test
async def test_ends_are_forgotten_in_time(
    operations: Operations, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster.tasks_may_end.set()
    async with closing(operations):
        batch = await operations.begin_many(TEACHER, Act.START, [(machine(1), "")])
        await all_ended(*batch.operations)
        assert operations.batch(batch.id) is batch
        monkeypatch.setattr(module, "KEEP", -1.0)
        monkeypatch.setattr(module, "SETTLE", -1.0)
        assert operations.of(1) is None
        await all_ended(await operations.begin(TEACHER, machine(2), Act.START))
        assert operations.batch(batch.id) is None
        assert operations.get(batch.operations[0].id) is None
