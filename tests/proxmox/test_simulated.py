"""The whole room against the simulated cluster: behind its own SSH server, and behind the real one."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tornado.ioloop import IOLoop

from cyberlab import problems
from cyberlab.console import terminal
from cyberlab.console.upstream import dial
from cyberlab.handlers.vm_source import VmSource
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Cluster, TaskStatus
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.state import Snapshot
from tests.proxmox.authority import Authority
from tests.proxmox.simulated import Moves, code_of, look, settings_of, source
from tests.sshd import Sshd

ROOT = Path(__file__).resolve().parent.parent.parent
MakeCluster = Callable[..., Cluster]
Source = Callable[[Cluster, int], VmSource]


BOTH = ("simulated sshd", "openssh")
ONE = pytest.mark.parametrize("environment", BOTH[:1], indirect=True)  # for what does not depend on it


@pytest.fixture(params=BOTH)
def environment(request: pytest.FixtureRequest, node: SimulatedCluster, tmp_path: Path) -> Iterator[dict[str, str]]:
    """How the portal is told to reach the cluster."""
    if request.param == "simulated sshd":
        yield node.environment()
        return
    server = Sshd(tmp_path / "sshd", [node.bin_folder], host_keys=("ed25519",))
    server.start()
    yield node.environment() | server.settings()
    server.stop()


@pytest.fixture
def make_cluster(io_loop: IOLoop, environment: dict[str, str]) -> Iterator[MakeCluster]:
    made: list[Cluster] = []

    def make(**changes: object) -> Cluster:
        made.append(Cluster(settings_of(environment, **changes)))
        return made[-1]

    async def close() -> None:
        for cluster in made:
            cluster.close()

    yield make
    io_loop.run_sync(close)


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster()


@pytest.mark.parametrize("hardened", [True, False], ids=["since 2026-04", "before"])
@pytest.mark.gen_test
async def test_to_an_open_console(
    cluster: Cluster, node: SimulatedCluster, caplog: pytest.LogCaptureFixture, hardened: bool
) -> None:
    """And nothing secret of all that is in any log, paramiko's and asyncio's included."""
    for name in ("", "paramiko", "paramiko.transport", "cyberlab.proxmox.paramiko"):
        caplog.set_level(logging.DEBUG, name)
    node.options.hardened = hardened
    await node.booted()
    origin = source(cluster, 100)
    target = await origin.target()
    ticket = await origin.ticket()
    assert len(await look(target)) == 24
    cookie = await cluster.auth_cookie()
    assert ticket.node_host == "pve1"
    assert (target.vnc_password == "PVEVNC:6") is not hardened
    shown = caplog.text + repr(target) + repr(ticket) + repr(cluster.settings) + repr(await cluster.tls(ticket))
    secrets = [cookie, cookie.rpartition("::")[2], ticket.ticket, ticket.ticket.rpartition("::")[2]]
    secrets += [target.resource, target.resource.rpartition("=")[2]]
    secrets += [target.vnc_password, ticket.password] if hardened else []
    assert "cyberlab.proxmox.paramiko" in {record.name for record in caplog.records}, "it does log, when asked"
    assert not any(secret in shown for secret in secrets)


@pytest.mark.parametrize("hardened", [True, False], ids=["since 2026-04", "before"])
@pytest.mark.gen_test
async def test_to_an_open_terminal(
    cluster: Cluster, node: SimulatedCluster, caplog: pytest.LogCaptureFixture, hardened: bool
) -> None:
    """Its certificate is verified, though termproxy does not tell whose it must be."""
    for name in ("", "paramiko", "paramiko.transport", "cyberlab.proxmox.paramiko"):
        caplog.set_level(logging.DEBUG, name)
    node.options.hardened = hardened
    origin = source(cluster, 300)
    for _ in range(2):
        target = await origin.target()
        assert target.context is not None
        assert target.context.verify_mode is ssl.CERT_REQUIRED
        link = await dial(target)
        try:
            await terminal.authenticate(link, target)
            assert (await link.read(6)) in (b"Debian", b"\r\x1b[K\x1b[")
        finally:
            link.abort()
    assert (target.vnc_password, target.terminal_user) == ("", "root@pam")
    shown = caplog.text + repr(target)
    secret = target.terminal_ticket.rpartition("::")[2]
    assert secret not in shown
    assert quote(secret, safe="") not in shown


@pytest.mark.gen_test
async def test_why_a_console_fails(cluster: Cluster, node: SimulatedCluster) -> None:
    causes = {
        100: None, 101: problems.VM_STOPPED, 104: problems.VM_LOCKED, 200: problems.NODE_OFFLINE,
        300: problems.VM_GONE, 999: problems.VM_GONE,
    }  # fmt: skip
    for vmid, cause in causes.items():
        assert await code_of(cluster.explain("pve1", "qemu", vmid)) == cause, vmid
    node.state.vms[105].known = False
    assert await code_of(cluster.explain("pve1", "qemu", 105)) is None, "new: nobody has measured it yet"
    await node.stop_vm(100)
    assert await code_of(cluster.explain("pve1", "qemu", 100)) == problems.VM_STOPPED
    await node.delete_vm(100)
    assert await code_of(cluster.explain("pve1", "qemu", 100)) == problems.VM_GONE
    node.set_offline("pve2")
    assert await code_of(cluster.explain("pve2", "qemu", 102)) == problems.NODE_OFFLINE


@pytest.mark.gen_test
async def test_power(cluster: Cluster, node: SimulatedCluster) -> None:
    await cluster.start("pve1", "qemu", 101)
    assert (await cluster.status("pve1", "qemu", 101)).status == "running"
    await cluster.start("pve1", "qemu", 101)  # it runs already: as asked
    await cluster.reset("pve1", "qemu", 101)
    await cluster.shutdown("pve1", "qemu", 101)
    assert not node.state.vms[101].running
    assert await code_of(cluster.reset("pve1", "qemu", 101)) == problems.VM_STOPPED
    assert await code_of(cluster.shutdown("pve1", "qemu", 101)) == problems.VM_STOPPED
    assert await code_of(cluster.start("pve1", "qemu", 104)) == problems.VM_LOCKED
    assert await code_of(cluster.start("pve1", "qemu", 999)) == problems.VM_GONE


@pytest.mark.gen_test
async def test_power_without_waiting(cluster: Cluster, node: SimulatedCluster) -> None:
    node.options.task_duration = 2.0
    begun = await cluster.begin("pve1", "qemu", 101, "start")
    shown: list[TaskStatus] = []
    assert (await cluster.finish(begun, 20.0, shown.append)).ok
    assert shown[0].running, "it was found while it ran"
    assert node.state.vms[101].running
    node.options.task_duration = 0.0
    upids = await asyncio.gather(*(cluster.begin("pve1", "qemu", vmid, "stop") for vmid in (100, 101, 105)))
    assert len({upid.text for upid in upids}) == 3
    assert all([(await cluster.finish(upid, 20.0)).ok for upid in upids])
    assert not any(node.state.vms[vmid].running for vmid in (100, 101, 105))
    remote = await cluster.begin("pve2", "qemu", 102, "reset")
    assert remote.node == "pve2"
    await cluster.finish(remote, 20.0)


@pytest.mark.gen_test
async def test_what_is_wrong_with_a_task(cluster: Cluster, node: SimulatedCluster) -> None:
    locked = await cluster.begin("pve1", "qemu", 104, "start")
    assert await code_of(cluster.finish(locked, 20.0)) == problems.VM_LOCKED
    await cluster.finish(await cluster.begin("pve1", "qemu", 100, "start"), 20.0)  # it runs already: as asked
    off = await cluster.begin("pve1", "qemu", 101, "shutdown")
    assert await code_of(cluster.finish(off, 20.0)) == problems.VM_STOPPED
    for action in ("reset", "reboot"):
        assert await code_of(cluster.begin("pve1", "qemu", 101, action)) == problems.VM_STOPPED
    assert await code_of(cluster.begin("pve1", "qemu", 999, "start")) == problems.VM_GONE
    assert await code_of(cluster.rollback("pve1", "qemu", 999, "lesson1", False)) == problems.VM_GONE
    assert await code_of(cluster.begin("pve1", "lxc", 300, "reset")) == problems.NO_RESET_BUTTON
    server = node.state.vms[103]
    server.newest_only, server.snapshots["later"] = True, Snapshot("later", 1_800_000_000)
    back = await cluster.rollback("pve1", "qemu", 103, "lesson1", False)
    assert await code_of(cluster.finish(back, 20.0)) == problems.SNAPSHOT_NOT_NEWEST
    node.state.vms[105].paused = True
    for action in ("shutdown", "reboot"):
        assert await code_of(cluster.begin("pve1", "qemu", 105, action)) == problems.SHUTDOWN_IGNORED


@ONE
@pytest.mark.gen_test
async def test_a_container_is_looked_at_before_there_is_a_task(cluster: Cluster, node: SimulatedCluster) -> None:
    """What the node refuses at once leaves no task to be found (PVE/API2/LXC/Status.pm)."""
    container = node.state.vms[300]
    assert await cluster.begin("pve1", "lxc", 300, "start") is None, "it runs already"
    await cluster.shutdown("pve1", "lxc", 300)
    assert not container.running
    await cluster.stop("pve1", "lxc", 300)
    for action in ("shutdown", "reboot"):
        assert await code_of(cluster.begin("pve1", "lxc", 300, action)) == problems.VM_STOPPED
    await cluster.start("pve1", "lxc", 300)
    assert container.running


@pytest.mark.gen_test
async def test_back_to_a_snapshot(cluster: Cluster, node: SimulatedCluster) -> None:
    (lesson,) = await cluster.snapshots("pve1", "qemu", 103)
    assert (lesson.name, lesson.description, lesson.with_memory) == ("lesson1", "start of lesson", False)
    assert lesson.taken_at is not None
    assert lesson.taken_at.year == 2026
    assert await cluster.snapshots("pve1", "qemu", 101) == []
    await cluster.finish(await cluster.rollback("pve1", "qemu", 103, "lesson1", False), 20.0)
    assert not node.state.vms[103].running
    await cluster.finish(await cluster.rollback("pve1", "qemu", 103, "lesson1", True), 20.0)
    assert node.state.vms[103].running
    unknown = await cluster.rollback("pve1", "qemu", 103, "nope", False)
    with pytest.raises(Problem) as caught:
        await cluster.finish(unknown, 20.0)
    assert "snapshot 'nope' does not exist" in caught.value.detail
    for name in ("current", "x; reboot", "../config", ""):
        with pytest.raises(ValueError, match="no name of a snapshot"):
            await cluster.rollback("pve1", "qemu", 103, name, False)


@pytest.mark.gen_test
async def test_a_machine_that_has_migrated(cluster: Cluster, node: SimulatedCluster) -> None:
    await node.booted()
    moves = Moves()
    origin = source(cluster, 100, moves=moves)
    await look(await origin.target())
    node.migrate_vm(100, "pve2")
    assert await cluster.locate("qemu", 100) == "pve2"
    target = await origin.target()
    assert "/nodes/pve2/" in target.resource
    await look(target)
    assert moves.nodes == ["pve2"]
    assert await code_of(source(cluster, 999).target()) == problems.VM_GONE


@ONE
@pytest.mark.gen_test
async def test_a_cookie_that_is_refused(cluster: Cluster, node: SimulatedCluster) -> None:
    """Proxmox renews its key once a day, and cookies of the key before the last are worth nothing."""
    await node.booted()
    origin = source(cluster, 100)
    await look(await origin.target())
    before = await cluster.auth_cookie()
    node.tickets.rotate()
    node.tickets.rotate()
    assert await code_of(look(await origin.target())) == problems.COOKIE_REFUSED
    assert await cluster.auth_cookie() == before
    origin.cookie_refused()
    await look(await origin.target())
    assert await cluster.auth_cookie() != before


@ONE
@pytest.mark.gen_test
async def test_whom_the_console_trusts(make_cluster: MakeCluster, node: SimulatedCluster, tmp_path: Path) -> None:
    await node.booted()
    fingerprint = str((await make_cluster().api.call("get", "/nodes"))[0]["ssl_fingerprint"])
    foreign = tmp_path / "ca.pem"
    foreign.write_text(Authority().pem)
    good: list[dict[str, object]] = [
        {},
        {"host": f"https://localhost:{node.api.port}"},
        {"tls_fingerprint": fingerprint},
        {"tls_ca_file": node.folder / "pve-root-ca.pem"},
        {"tls_insecure_skip_verify": True},
        {"tls_insecure_skip_verify": True, "tls_fingerprint": fingerprint},
    ]
    for changes in good:
        await look(await source(make_cluster(**changes), 100).target())
    wrong = "ab" * 32
    bad: list[dict[str, object]] = [
        {"tls_fingerprint": wrong},
        {"tls_insecure_skip_verify": True, "tls_fingerprint": wrong},
        {"tls_ca_file": foreign},
    ]
    for changes in bad:
        assert await code_of(look(await source(make_cluster(**changes), 100).target())) == problems.TLS_MISMATCH


@asynccontextmanager
async def child(state: Path) -> AsyncIterator[dict[str, Any]]:
    """The simulator as the demo starts it, and what it says when it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cyberlab.simulator", "--state", str(state), "--with-parent", "--no-qemu",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


@pytest.mark.parametrize("openssh", [False, True])
@pytest.mark.gen_test
async def test_as_a_process_of_its_own(keys: Path, tmp_path: Path, openssh: bool) -> None:
    async with child(keys) as facts:
        server = Sshd(tmp_path / "sshd", [keys / "bin"], host_keys=("ed25519",))
        server.start()
        environment = facts["environment"] | (server.settings() if openssh else {})
        cluster = Cluster(settings_of(environment))
        try:
            assert await cluster.version()
            assert set((await cluster.resources(0.0)).resources) == {row["vmid"] for row in facts["vms"]}
            assert len(await look(await source(cluster, 102, "pve2").target())) == 24
        finally:
            cluster.close()
            server.stop()
