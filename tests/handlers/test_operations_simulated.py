"""Operations against the simulated cluster: real tasks, begun detached and watched by their lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cyberlab.auth.access import Action
from cyberlab.auth.grants import Grant
from cyberlab.db.audit import Actor
from cyberlab.db.models import Vm, VmKind
from cyberlab.handlers.operations import Act, Operation, Operations, Phase
from cyberlab.problems import SNAPSHOT_GONE, VM_GONE, VM_LOCKED, VM_STOPPED
from cyberlab.proxmox.cluster import Cluster
from cyberlab.settings import ClusterSettings
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from tests.web import World

TEACHER = Grant(Actor(None, "teacher"), Action.RUN_CLASS, group_id=1)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated cluster's, which take a second to make."""
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture
def node(io_loop: IOLoop, keys: Path) -> Iterator[SimulatedCluster]:
    made = SimulatedCluster(keys, qemu=False, options=Options(task_duration=0.05))
    io_loop.run_sync(made.start)
    yield made
    io_loop.run_sync(made.close)


@pytest.fixture
def operations(io_loop: IOLoop, node: SimulatedCluster, world: World) -> Iterator[Operations]:
    values: dict[str, Any] = {name.removeprefix("PROXMOX_").lower(): v for name, v in node.environment().items()}
    cluster = Cluster(ClusterSettings(_env_file=None, **values))
    made = Operations(world.database, {"demo": cluster})

    async def close() -> None:
        await made.close()
        cluster.close()

    yield made
    io_loop.run_sync(close)


def machine(vmid: int, node: str = "pve1") -> Vm:
    return Vm(id=vmid, cluster="demo", vmid=vmid, kind=VmKind.QEMU, node=node, name=f"vm-{vmid}")


async def ended(operation: Operation) -> str:
    """How it ended: "done", or the problem's code."""
    await operation.ended.wait()
    return operation.problem.code if operation.problem else operation.phase.value


@pytest.mark.gen_test
async def test_power_and_what_stands_in_its_way(operations: Operations, node: SimulatedCluster) -> None:
    vms = node.state.vms

    async def does(act: Act, vmid: int, snapshot: str = "", where: str = "pve1") -> str:
        return await ended(await operations.begin(TEACHER, machine(vmid, where), act, snapshot))

    assert await does(Act.START, 101) == "done"
    assert vms[101].running
    assert await does(Act.START, 101) == "done", "it runs already: as asked"
    assert await does(Act.SHUTDOWN, 101) == "done"
    assert not vms[101].running
    assert await does(Act.SHUTDOWN, 101) == "done", "it is off already: as asked"
    assert await does(Act.REBOOT, 101) == VM_STOPPED
    assert await does(Act.START, 104) == VM_LOCKED
    assert await does(Act.STOP, 100) == "done"
    assert not vms[100].running
    assert await does(Act.START, 102, where="pve1") == "done", "found on the node where it is now"
    assert await does(Act.START, 999) == VM_GONE


@pytest.mark.gen_test
async def test_back_to_a_snapshot(operations: Operations, node: SimulatedCluster) -> None:
    vm = node.state.vms[103]
    reset = await operations.begin(TEACHER, machine(103), Act.RESET, "lesson1")
    assert (await ended(reset), vm.running) == ("done", False)
    vm.running = True
    reset = await operations.begin(TEACHER, machine(103), Act.RESET, "lesson1")
    assert (await ended(reset), vm.running) == ("done", True), "it ran, so it runs"
    assert await ended(await operations.begin(TEACHER, machine(103), Act.RESET, "nope")) == SNAPSHOT_GONE
    assert await ended(await operations.begin(TEACHER, machine(103), Act.RESET, "x; reboot")) == SNAPSHOT_GONE
    vm.lock = "backup"
    assert await ended(await operations.begin(TEACHER, machine(103), Act.RESET, "lesson1")) == VM_LOCKED


@pytest.mark.gen_test
async def test_a_class_at_once(operations: Operations, node: SimulatedCluster) -> None:
    wanted = [(machine(vmid), "") for vmid in (100, 101, 103, 104, 105)]
    batch = await operations.begin_many(TEACHER, Act.START, wanted)
    results = [await ended(operation) for operation in batch.operations]
    assert results == ["done", "done", "done", VM_LOCKED, "done"]
    assert batch.count(Phase.DONE, Phase.FAILED) == 5
    assert all(node.state.vms[vmid].running for vmid in (100, 101, 103, 105))
