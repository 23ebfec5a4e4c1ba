"""Consoles as somebody who may do nothing else, and a key that is no shell: behind the real sshd."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Cluster
from cyberlab.proxmox.minting import cookie_command, ticket_command
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.state import User
from tests.proxmox.simulated import code_of, look, settings_of, source, type_into
from tests.sshd import Sshd

USER = "console@pve"
GATE = Path(__file__).resolve().parent.parent.parent / "deploy" / "cyberlab-gate"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The script as an admin would have edited it."""
    text = GATE.read_text()
    changed = text.replace("('root@pam')", f"('{USER}')")
    assert changed != text
    path = tmp_path / "gate"
    path.write_text(changed)
    path.chmod(0o755)
    return path


@pytest.fixture
def cluster(io_loop: IOLoop, node: SimulatedCluster, tmp_path: Path, gate: Path) -> Iterator[Cluster]:
    node.state.users[USER] = User(USER, permissions={"/vms": frozenset({"VM.Console"})})
    server = Sshd(tmp_path / "sshd", [node.bin_folder], host_keys=("ed25519",), gate=gate)
    server.start()
    made = Cluster(settings_of(node.environment() | server.settings(), console_user=USER))
    yield made

    async def close() -> None:
        made.close()

    io_loop.run_sync(close)
    server.stop()


@pytest.mark.parametrize("hardened", [True, False], ids=["since 2026-04", "before"])
@pytest.mark.gen_test
async def test_the_whole_way_as_somebody_who_may_open_consoles(
    cluster: Cluster, node: SimulatedCluster, hardened: bool
) -> None:
    node.options.hardened = hardened
    await node.booted()
    origin = source(cluster, 100)
    await look(await origin.target())
    await type_into(await source(cluster, 300).target())
    assert node.tickets.cookie_user(await cluster.auth_cookie()) == USER
    ticket = await cluster.console_ticket("pve1", "qemu", 105)
    bound = ticket.port if hardened else None
    assert node.tickets.vnc_holds(ticket.signed, USER, "/vms/105", bound)
    assert not node.tickets.vnc_holds(ticket.signed, "root@pam", "/vms/105", bound)
    assert ticket.signed not in repr(ticket)
    node.state.users[USER].permissions = {"/vms/105": frozenset({"VM.Console"})}
    assert await code_of(look(await origin.target())) == problems.PERMISSION_DENIED


@pytest.mark.gen_test
async def test_the_portals_other_commands(cluster: Cluster, node: SimulatedCluster) -> None:
    assert await cluster.version()
    assert (await cluster.resources(0.0)).resources
    assert await cluster.online_nodes() == ["pve1", "pve2"]
    assert (await cluster.status("pve1", "qemu", 101)).status == "stopped"
    await cluster.power("pve1", "qemu", 101, "start")
    assert node.state.vms[101].running
    assert await cluster.snapshots("pve1", "qemu", 103)
    await cluster.finish(await cluster.rollback("pve1", "qemu", 103, "lesson1", True), 20.0)
    assert await cluster._access._ca.get()


@pytest.mark.gen_test
async def test_nothing_else(cluster: Cluster, node: SimulatedCluster) -> None:
    refused = [
        "id", "sh", "", "pvesh", "pvesh get /access/users --output-format json", "pvesh create /access/users",
        "pvesh delete /nodes/pve1/qemu/100 --output-format json",
        "pvesh get /version --output-format json; id", "pvesh get /version --output-format json\nid",
        "pvesh get /version --output-format json\n", "id\npvesh get /version --output-format json",
        "pvesh get /nodes/pve1/tasks/UPID:$(id)/status --output-format json",
        "pvesh create /nodes/pve1/qemu/100/vncproxy --output-format json",  # would listen on all interfaces
        "pvesh create /nodes/pve1/qemu/100/status/start --output-format json > /etc/passwd",
        "setsid -f pvesh create /nodes/pve1/qemu/100/status/start --output-format json >/tmp/x 2>&1 </dev/null",
        "pvesh create /nodes/pve1/qemu/100/snapshot/../config/rollback --output-format json",
        cookie_command("root@pam"), ticket_command("root@pam", 100, 5900), cookie_command(USER) + ";id",
    ]  # fmt: skip
    for command in refused:
        result = await cluster.ssh.run(command, timeout=10.0, idempotent=False)
        assert (result.exit, result.stdout) == (126, ""), command
        assert "may not run that" in result.stderr
    with pytest.raises(Problem) as caught:
        await cluster.api.call("get", "/access/users")
    assert caught.value.code == problems.PVESH_MISSING
    for command in (cookie_command(USER), ticket_command(USER, 100, 5900), ticket_command(USER, 100, None)):
        assert (await cluster.ssh.run(command, timeout=10.0, idempotent=True)).exit == 0, command


def test_the_script_as_it_comes_signs_for_root(tmp_path: Path) -> None:
    """And says so to perl's strict eye."""
    environment = {"SSH_ORIGINAL_COMMAND": cookie_command("root@pam"), "PATH": str(tmp_path)}
    done = subprocess.run([GATE], env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 127, "allowed, and there is no perl on this PATH"
    environment["SSH_ORIGINAL_COMMAND"] = cookie_command(USER)
    done = subprocess.run([GATE], env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 126
