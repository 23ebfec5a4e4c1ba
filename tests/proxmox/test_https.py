"""A cluster that is asked over HTTPS: by token, by password, by a cookie that SSH mints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.answers import VmStatus
from cyberlab.proxmox.cluster import Cluster, TaskStatus
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.state import User
from tests.proxmox.simulated import code_of, look, settings_of, source, type_into

MakeCluster = Callable[..., Cluster]
TOKEN = "portal@pve!lab"
RIGHTS = frozenset({"VM.Audit", "VM.Console", "VM.PowerMgmt", "VM.Snapshot.Rollback"})
NO_SSH = {"ssh_host": "", "ssh_key_path": None, "ssh_known_hosts": None}
WAYS: dict[str, dict[str, Any]] = {
    "token": {"token_name": TOKEN, "token_value": "tokens-secret", **NO_SSH},
    "password": {"user": "portal@pve", "password": "users-secret", **NO_SSH},
    "cookie minted over SSH": {"user": "portal@pve"},
    "root's cookie": {},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, node: SimulatedCluster) -> dict[str, Any]:
    return {"tls_ca_file": node.folder / "pve-root-ca.pem", **WAYS[request.param]}


@pytest.fixture
def make_cluster(io_loop: IOLoop, node: SimulatedCluster) -> Iterator[MakeCluster]:
    made: list[Cluster] = []
    node.state.users["portal@pve"] = User("portal@pve", "users-secret", permissions={"/vms": RIGHTS})
    node.state.tokens[TOKEN] = "tokens-secret"

    def make(**changes: object) -> Cluster:
        settings = settings_of(node.environment(), **({"source": "https"} | changes))
        assert settings.problems() == []
        made.append(Cluster(settings))
        return made[-1]

    async def close() -> None:
        for cluster in made:
            cluster.close()

    yield make
    io_loop.run_sync(close)


@pytest.fixture
def cluster(make_cluster: MakeCluster, way: dict[str, Any]) -> Cluster:
    return make_cluster(**way)


@pytest.mark.parametrize("hardened", [True, False], ids=["since 2026-04", "before"])
@pytest.mark.gen_test
async def test_every_kind_of_console(
    cluster: Cluster, node: SimulatedCluster, caplog: pytest.LogCaptureFixture, hardened: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    node.options.hardened = hardened
    await node.booted()
    assert await cluster.version()
    assert (await cluster.resources(0.0)).resources[100].status == "running"
    target = await source(cluster, 100).target()
    assert len(await look(target)) == 24
    assert (target.vnc_password == "PVEVNC:6") is not hardened
    await look(await source(cluster, 102, "pve2").target())
    terminal = await source(cluster, 300).target()
    assert terminal.terminal_ticket
    if hardened or not cluster.settings.by_token:  # before, termproxy took no token
        await type_into(terminal)
    container = await cluster.console_ticket("pve1", "lxc", 300)
    assert container.password, "a container's picture, which pvesh cannot have"
    shown = caplog.text + repr(target) + repr(terminal) + repr(container) + repr(cluster.settings)
    for secret in ("tokens-secret", "users-secret", await cluster.auth_cookie() or "tokens-secret", container.ticket):
        assert secret not in shown


@pytest.mark.gen_test
async def test_power_and_snapshots(cluster: Cluster, node: SimulatedCluster) -> None:
    node.options.task_duration = 0.2
    shown: list[TaskStatus] = []
    begun = await cluster.begin("pve1", "qemu", 101, "start")
    await cluster.finish(begun, 20.0, shown.append)
    assert shown[0].running
    assert node.state.vms[101].running
    await cluster.power("pve1", "qemu", 101, "stop")
    locked = await cluster.begin("pve1", "qemu", 104, "start")
    assert await code_of(cluster.finish(locked, 20.0)) == problems.VM_LOCKED
    (lesson,) = await cluster.snapshots("pve1", "qemu", 103)
    await cluster.finish(await cluster.rollback("pve1", "qemu", 103, lesson.name, True), 20.0)
    assert node.state.vms[103].running
    assert await code_of(cluster.begin("pve1", "qemu", 999, "start")) in (problems.VM_GONE, problems.PERMISSION_DENIED)


@pytest.mark.gen_test
async def test_somebody_was_quicker(make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that has been started since it was looked at is refused at once, and yet as asked."""
    cluster = make_cluster()

    async def before(*_: object) -> VmStatus:
        return VmStatus("stopped")

    monkeypatch.setattr(cluster, "status", before)
    assert await cluster.begin("pve1", "lxc", 300, "start") is None


@pytest.mark.gen_test
async def test_what_nobody_may(make_cluster: MakeCluster, node: SimulatedCluster) -> None:
    node.state.users["portal@pve"].permissions = {"/vms/100": RIGHTS}
    cluster = make_cluster(tls_ca_file=node.folder / "pve-root-ca.pem", **WAYS["token"])
    await look(await source(cluster, 100).target())
    assert await code_of(source(cluster, 105).target()) == problems.PERMISSION_DENIED
    assert await code_of(cluster.power("pve1", "qemu", 105, "stop")) == problems.PERMISSION_DENIED


@pytest.mark.gen_test
async def test_a_secret_that_is_wrong(make_cluster: MakeCluster, node: SimulatedCluster) -> None:
    ca = {"tls_ca_file": node.folder / "pve-root-ca.pem"}
    for way in (
        {"token_name": TOKEN, "token_value": "wr0ng", **NO_SSH}, {"user": "portal@pve", "password": "wr0ng", **NO_SSH},
    ):  # fmt: skip
        assert await code_of(make_cluster(**ca, **way).resources(0.0)) == problems.COOKIE_REFUSED


@pytest.mark.gen_test
async def test_the_certificate_is_looked_at_before_anything_is_sent(
    make_cluster: MakeCluster, node: SimulatedCluster
) -> None:
    """Without SSH there is no CA but the system's; a pin that is wrong is no better."""
    for pin in ("", "ab" * 32):
        cluster = make_cluster(tls_fingerprint=pin, **WAYS["token"])
        assert await code_of(cluster.resources(0.0)) == problems.TLS_MISMATCH
    assert make_cluster().settings.needs_ssh
    assert (await make_cluster().resources(0.0)).resources, "by SSH the CA comes by itself"


@pytest.mark.gen_test
async def test_one_sign_in_for_a_whole_class_and_a_new_one_when_the_key_has_changed(
    make_cluster: MakeCluster, node: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = []
    real = node.tickets.cookie
    monkeypatch.setattr(node.tickets, "cookie", lambda user: signed.append(user) or real(user))
    cluster = make_cluster(tls_ca_file=node.folder / "pve-root-ca.pem", **WAYS["password"])
    await asyncio.gather(*(cluster.version() for _ in range(20)))
    assert len(signed) == 1
    node.tickets.rotate()
    node.tickets.rotate()  # of the key before the last, nothing is worth anything
    assert await cluster.version(), "refused, and asked again with a new cookie"
    assert len(signed) == 2


@pytest.mark.gen_test
async def test_a_500_that_means_nothing(make_cluster: MakeCluster, node: SimulatedCluster) -> None:
    node.options.vncproxy_stumbles = 2
    cluster = make_cluster(tls_ca_file=node.folder / "pve-root-ca.pem", **WAYS["token"])
    for _ in range(3):
        assert (await cluster.console_ticket("pve1", "qemu", 100)).port
    node.options.vncproxy_stumbles = 1
    assert await code_of(cluster.console_ticket("pve1", "qemu", 100)) == problems.PVESH_FAILED


@pytest.mark.gen_test
async def test_a_parameter_that_does_not_fit_is_named(make_cluster: MakeCluster) -> None:
    """Not in the status line, but in the body (PVE/APIServer/Formatter/Standard.pm)."""
    with pytest.raises(Problem, match=r"400 Parameter verification failed\. frob: property is not defined"):
        await make_cluster().api.call("create", "/nodes/pve1/qemu/100/status/start", {"frob": "1"})


@pytest.mark.gen_test
async def test_nobody_there(make_cluster: MakeCluster, node: SimulatedCluster) -> None:
    cluster = make_cluster(tls_ca_file=node.folder / "pve-root-ca.pem", **WAYS["token"])
    await node.api.close()
    assert await code_of(cluster.resources(0.0)) == problems.API_UNREACHABLE
    assert cluster.health()[0].trouble is not None


@pytest.mark.gen_test
async def test_a_node_that_is_offline(make_cluster: MakeCluster, node: SimulatedCluster) -> None:
    node.options.https_offline_hang = 0.1
    cluster = make_cluster(tls_ca_file=node.folder / "pve-root-ca.pem", **WAYS["token"])
    assert await code_of(cluster.status("pve3", "qemu", 200)) == problems.NODE_OFFLINE
    assert await code_of(cluster.explain("pve3", "qemu", 200)) == problems.NODE_OFFLINE
