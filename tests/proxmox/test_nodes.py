"""Several nodes: a machine's own is asked, another one while that is out of reach; and two clusters side by side."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from cyberlab import problems, settings_file
from cyberlab.proxmox import admission, nodes
from cyberlab.proxmox.cluster import Caller, Cluster
from cyberlab.settings import ClusterSettings
from cyberlab.simulator.member import Member
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.state import demo_cluster
from tests import patience
from tests.proxmox.simulated import Moves, code_of, look, source

MakeCluster = Callable[[ClusterSettings], Cluster]
ADDRESSES = {"pve1": "127.0.0.11", "pve2": "127.0.0.12"}


@pytest.fixture
def make_cluster(io_loop: IOLoop) -> Iterator[MakeCluster]:
    made: list[Cluster] = []

    def make(settings: ClusterSettings) -> Cluster:
        assert settings.problems() == []
        made.append(Cluster(settings))
        return made[-1]

    async def close() -> None:
        for cluster in made:
            cluster.close()

    yield make
    io_loop.run_sync(close)


def simulated(folder: Path, addresses: dict[str, str], name: str = "demo") -> SimulatedCluster:
    options = Options(refusal_delay=0.0, stopped_close=0.0, patience=0.3, offline_hang=1.0)
    state = demo_cluster()
    state.name = name
    return SimulatedCluster(folder, qemu=False, options=options, state=state, addresses=addresses)


def settings_of(*clusters: SimulatedCluster, extra: str = "") -> tuple[ClusterSettings, ...]:
    file = clusters[0].folder / "clusters.toml"
    text = "\n".join(made.environment_toml() for made in clusters)
    file.write_text(text.replace("[[cluster]]\n", f"[[cluster]]\nwarm_workers = 0\n{extra}\n"))
    return settings_file.read(file)


@pytest.fixture
def pair(io_loop: IOLoop, keys: Path) -> Iterator[SimulatedCluster]:
    """Two nodes that can be asked, pve1 and pve2."""
    made = simulated(keys / "pair", ADDRESSES)
    io_loop.run_sync(made.start)
    yield made
    io_loop.run_sync(made.close)


@pytest.fixture
def cluster(pair: SimulatedCluster, make_cluster: MakeCluster) -> Cluster:
    return make_cluster(settings_of(pair)[0])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(patience.SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def ports(member: Member) -> int:
    """How many consoles were asked for at this node."""
    return sum(task.kind == "vncproxy" for task in member.consoles._tasks.finished(member.name)) + sum(
        task.kind == "vncproxy" for task in member.consoles._tasks.active(member.name)
    )


@pytest.mark.gen_test
async def test_each_machine_is_asked_for_on_its_own_node(cluster: Cluster, pair: SimulatedCluster) -> None:
    await pair.booted()
    for vmid, node in ((100, "pve1"), (102, "pve2")):
        origin = source(cluster, vmid, node)
        ticket = await origin.ticket()
        assert (ticket.node_host, ticket.host) == (node, pair.members[node].environment()["PROXMOX_HOST"])
        target = await origin.target()
        assert target.host == ADDRESSES[node], "the port is open where it was asked for"
        await look(target)
    assert [health.name for health in cluster.health()] == ["pve1", "pve2"]


@pytest.mark.gen_test
async def test_another_node_while_that_one_cannot_be_reached(
    cluster: Cluster, pair: SimulatedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cyberlab.proxmox")
    await pair.booted()
    sshd = pair.members["pve2"].sshd
    await look(await source(cluster, 102, "pve2").target())
    await sshd.listener.close()
    sshd.drop_connections()
    opened = await asyncio.gather(*(source(cluster, 102, "pve2").target() for _ in range(3)))
    assert {target.host for target in opened} == {ADDRESSES["pve1"]}
    assert all("/nodes/pve2/" in target.resource for target in opened)
    await look(await source(cluster, 102, "pve2").target())
    assert [health.trouble and health.trouble.code for health in cluster.health()] == [None, problems.SSH_REFUSED]
    await sshd.listener.reopen()
    await until(lambda: cluster.health()[1].trouble is None)
    assert (await source(cluster, 102, "pve2").target()).host == ADDRESSES["pve2"]
    assert [record.levelname for record in caplog.records if "reached" in record.message] == ["WARNING", "INFO"]


@pytest.mark.gen_test
async def test_who_waits_at_another_node_goes_back_with_their_own(
    pair: SimulatedCluster, make_cluster: MakeCluster
) -> None:
    await pair.booted()
    cluster = make_cluster(settings_of(pair, extra="calls_at_once = 2")[0])
    sshd = pair.members["pve2"].sshd
    await cluster.auth_cookie()
    await sshd.listener.close()
    pair.options.call_cost = 1000.0
    busy = [asyncio.ensure_future(cluster.console_ticket("pve1", "qemu", 100)) for _ in range(2)]
    await until(lambda: cluster.health()[0].working == 2)
    places: list[list[int]] = [[], [], []]  # pve2 refuses them side by side: they may stand in line in any order
    waiting = [asyncio.ensure_future(source(cluster, 102, "pve2").ticket(place.append)) for place in places]
    await until(lambda: cluster.health()[0].waiting == 3)
    await until(lambda: len(pair.members["pve1"].sshd._runs) == 2)
    pair.options.call_cost = 0.0
    await sshd.listener.reopen()
    await until(lambda: sum(task.done() for task in waiting) == 2)
    hosts = {task.result().host for task in waiting if task.done()}
    assert hosts == {pair.members["pve2"].environment()["PROXMOX_HOST"]}
    (stays,) = (place for place, task in zip(places, waiting, strict=True) if not task.done())
    assert stays == [1], "who is next"
    for task in [*busy, *waiting]:
        task.cancel()
    await asyncio.gather(*busy, *waiting, return_exceptions=True)


@pytest.mark.gen_test
async def test_an_only_node_that_restarts_its_sshd_costs_nobody_a_console(
    node: SimulatedCluster, make_cluster: MakeCluster
) -> None:
    """Everybody waits for the one attempt that succeeds; none is refused."""
    await node.booted()
    cluster = make_cluster(settings_of(node)[0])
    await source(cluster, 100).target()
    await node.sshd.listener.close()
    node.sshd.drop_connections()
    waiting = [asyncio.ensure_future(source(cluster, 100).target()) for _ in range(20)]
    await until(lambda: cluster.health()[0].trouble)
    await node.sshd.listener.reopen()
    assert len({target.resource for target in await asyncio.gather(*waiting)}) == 20


@pytest.mark.gen_test
async def test_what_a_person_has_to_mend_is_not_waited_for(
    node: SimulatedCluster, make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "RECOVERY_SECONDS", 1000.0)
    wrong = settings_of(node, extra='ssh_host_key = "SHA256:wrong"')[0]
    cluster = make_cluster(wrong)
    assert await code_of(source(cluster, 100).target()) == problems.SSH_HOST_KEY
    assert await code_of(cluster.resources(0.0)) == problems.SSH_HOST_KEY


@pytest.mark.gen_test
async def test_no_node_at_all(cluster: Cluster, pair: SimulatedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for member in pair.members.values():
        await member.sshd.listener.close()
    assert await code_of(cluster.resources(0.0)) == problems.SSH_REFUSED, "a page does not wait"
    monkeypatch.setattr("cyberlab.proxmox.routed.RECOVERY_SECONDS", 0.2)
    assert await code_of(cluster.console_ticket("pve1", "qemu", 100)) == problems.SSH_REFUSED
    await pair.members["pve2"].sshd.listener.reopen()
    await until(lambda: cluster.health()[1].trouble is None)
    assert (await cluster.resources(0.0)).resources


@pytest.mark.gen_test
async def test_a_dead_node_is_told_from_one_whose_sshd_is_away(
    cluster: Cluster, pair: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask another node for a console on it would hang; that it is offline is known."""
    monkeypatch.setattr("cyberlab.proxmox.ssh._CONNECT_SECONDS", 0.3)
    pair.options.offline_hang = 1000.0
    pair.set_offline("pve2")
    assert await code_of(source(cluster, 102, "pve2").target()) == problems.NODE_OFFLINE
    assert (await cluster.resources(0.0)).resources[102].status == "unknown"
    assert await code_of(cluster.explain("pve2", "qemu", 102)) == problems.NODE_OFFLINE


@pytest.mark.gen_test
async def test_taken_over_from_a_dead_node(
    cluster: Cluster, pair: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyberlab.proxmox.ssh._CONNECT_SECONDS", 0.3)
    await pair.booted()
    moves = Moves()
    pair.migrate_vm(102, "pve1")
    pair.set_offline("pve2")
    assert "/nodes/pve1/" in (await source(cluster, 102, "pve2", moves).target()).resource
    assert moves.nodes == ["pve1"]


@pytest.mark.gen_test
async def test_a_machine_that_migrated_while_the_inventory_is_behind(cluster: Cluster, pair: SimulatedCluster) -> None:
    await pair.booted()
    pair.options.resources_age = 1000.0
    assert (await cluster.resources(0.0)).resources[100].node == "pve1"
    pair.migrate_vm(100, "pve2")
    assert (await cluster.resources(0.0)).resources[100].node == "pve1", "as it was"
    moves = Moves()
    target = await source(cluster, 100, moves=moves).target()
    assert ("/nodes/pve2/" in target.resource, target.host, moves.nodes) == (True, ADDRESSES["pve2"], ["pve2"])
    await look(target)
    await pair.delete_vm(100)
    assert await code_of(source(cluster, 100).target()) == problems.VM_GONE


@pytest.mark.gen_test
async def test_so_many_calls_at_once_and_the_others_know_their_place(
    pair: SimulatedCluster, make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "_ANNOUNCE_SECONDS", 0.0)
    pair.options.call_cost = 0.2
    cluster = make_cluster(settings_of(pair, extra="calls_at_once = 2")[0])
    places: list[int] = []
    callers = [Caller(str(user), places.append if user == 5 else None) for user in range(6)]
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, cluster.health()[0].working)
            await asyncio.sleep(0.005)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(cluster.console_ticket("pve1", "qemu", 100, caller) for caller in callers))
    watching.cancel()
    assert most == 2
    assert places[0] == 4
    assert places == sorted(places, reverse=True)


# --- two clusters


@pytest.fixture
def two(io_loop: IOLoop, keys: Path) -> Iterator[tuple[SimulatedCluster, SimulatedCluster]]:
    """With the same node names and the same VMIDs, but keys, users and secrets of their own."""
    made = (
        simulated(keys / "one", {"pve1": "127.0.0.1"}, "one"), simulated(keys / "two", {"pve1": "127.0.0.1"}, "two"),
    )  # fmt: skip
    made[1].state.vms[100].name = "another-machine"
    made[1].state.vms[101].running = True
    for each in made:
        io_loop.run_sync(each.start)
    yield made
    for each in made:
        io_loop.run_sync(each.close)


@pytest.mark.gen_test
async def test_the_same_vmid_in_two_clusters(
    two: tuple[SimulatedCluster, SimulatedCluster], make_cluster: MakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "cyberlab")
    for each in two:
        await each.booted()
    one, other = [make_cluster(settings) for settings in settings_of(*two)]
    inventories = await asyncio.gather(one.resources(0.0), other.resources(0.0))
    assert [found.resources[100].name for found in inventories] == ["kali-07", "another-machine"]
    assert [found.resources[101].status for found in inventories] == ["stopped", "running"]
    cookies = await asyncio.gather(one.auth_cookie(), other.auth_cookie())
    for each, mine, foreign in ((two[0], *cookies), (two[1], *reversed(cookies))):
        assert each.tickets.cookie_user(mine) == "root@pam"
        assert each.tickets.cookie_user(foreign) is None
    sources = [source(one, 100), source(other, 100)]
    targets = await asyncio.gather(*(origin.target() for origin in sources))
    assert [target.port for target in targets] == [two[0].api.port, two[1].api.port]
    for target in targets:
        await look(target)
    mixed = await sources[1].target_for(await sources[1].ticket(), cookies[0])
    assert await code_of(look(mixed)) == problems.COOKIE_REFUSED
    await asyncio.gather(one.power("pve1", "qemu", 101, "start"), other.power("pve1", "qemu", 101, "stop"))
    assert [each.state.vms[101].running for each in two] == [True, False]
    one.forget_cookie(cookies[1])
    assert await one.auth_cookie() == cookies[0], "another cluster's cookie is nothing to forget"
    # Whatever a log says of a machine says of which cluster's.
    said = [record.getMessage() for record in caplog.records if re.search(r"\b10[01]\b", record.getMessage())]
    assert all("one" in line or "two" in line for line in said), said


@pytest.mark.gen_test
async def test_a_cluster_that_is_down_is_nobody_elses_business(
    two: tuple[SimulatedCluster, SimulatedCluster], make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two[1].booted()
    monkeypatch.setattr("cyberlab.proxmox.ssh._CONNECT_SECONDS", 0.5)
    one, other = [make_cluster(settings) for settings in settings_of(*two)]
    two[0].set_offline("pve1")
    lost = [asyncio.ensure_future(code_of(one.console_ticket("pve1", "qemu", 100))) for _ in range(30)]
    for _ in range(5):
        await look(await source(other, 100).target())
    assert not all(call.done() for call in lost), "the other one did not wait for these"
    assert set(await asyncio.gather(*lost)) == {problems.SSH_REFUSED}
    assert (await other.resources(0.0)).resources
