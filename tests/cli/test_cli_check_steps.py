"""`check` against a simulated node that a test can make misbehave."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cyberlab.simulator import calls
from cyberlab.simulator.guest_drawn import DrawnGuest
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import Outcome
from tests.cli.checks import STEPS, VNC_PASSWORD, Checked, checked
from tests.cli.conftest import Shell

Check = Callable[..., Awaitable[Checked]]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory: its keys take a second to make."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
def node(io_loop: IOLoop, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedCluster]:
    monkeypatch.setattr(calls, "vnc_password", lambda: VNC_PASSWORD)
    cluster = _cluster(keys)
    io_loop.run_sync(cluster.start)
    yield cluster
    io_loop.run_sync(cluster.close)


@pytest.fixture
def relative(io_loop: IOLoop, node: SimulatedCluster, tmp_path: Path) -> Iterator[SimulatedCluster]:
    """Another node of the same cluster: the same keys, and console ports of its own."""
    shutil.copytree(node.folder, tmp_path / "relative", ignore=shutil.ignore_patterns("run", "lock"))
    cluster = _cluster(tmp_path / "relative")
    io_loop.run_sync(cluster.start)
    yield cluster
    io_loop.run_sync(cluster.close)


@pytest.fixture
def stranger(io_loop: IOLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCluster]:
    """A node of another cluster."""
    cluster = _cluster(tmp_path_factory.mktemp("stranger"))
    io_loop.run_sync(cluster.start)
    yield cluster
    io_loop.run_sync(cluster.close)


def _cluster(folder: Path) -> SimulatedCluster:
    return SimulatedCluster(folder, qemu=False, options=Options(refusal_delay=0.0, stopped_close=0.0))


def _web(cluster: SimulatedCluster) -> str:
    return f"https://127.0.0.1:{cluster.api.port}"


@pytest.fixture
def run(unmigrated: Shell, node: SimulatedCluster) -> Check:
    """Check the node, with other settings where a test wants them; the node goes on in this thread meanwhile."""

    async def run(*arguments: str, **settings: str) -> Checked:
        return await asyncio.to_thread(checked, unmigrated, node.environment() | settings, *arguments)

    return run


def _answer(node: SimulatedCluster, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    """Let everything but `hostname` end like this."""
    real = node.commands.run

    async def answer(words: list[str], *more: Any) -> Outcome:
        return await real(words, *more) if words == ["hostname"] else outcome

    monkeypatch.setattr(node.commands, "run", answer)


@pytest.mark.gen_test
async def test_no_pvesh_there(run: Check, node: SimulatedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(node, monkeypatch, Outcome(127, "", "bash: line 1: pvesh: command not found\n"))
    result = await run(PROXMOX_WARM_WORKERS="0")
    result.explains("pvesh", "pvesh-missing", "has no pvesh", "Set PROXMOX_SSH_HOST to a Proxmox VE node", "exit 127")
    assert [result.marks[step] for step in STEPS[4:]] == ["–"] * 11


@pytest.mark.gen_test
async def test_pvesh_but_not_root(run: Check, node: SimulatedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(node, monkeypatch, Outcome(255, "", "please run as root\n"))
    result = await run(PROXMOX_WARM_WORKERS="0")
    result.explains("pvesh", "pvesh-missing", "works as root only", "PROXMOX_SSH_USER to root")


@pytest.mark.gen_test
async def test_a_pvesh_that_cannot_be_kept_loaded(run: Check, node: SimulatedCluster) -> None:
    node.options.warm = False
    result = await run()
    assert result.failed() == []
    said = " ".join(result.said["pvesh"].split())
    assert "falls back to the plain command and costs it 0.6 CPU-seconds: Can't locate PVE/API2.pm" in said


@pytest.mark.gen_test
async def test_pvesh_that_hangs(run: Check, node: SimulatedCluster) -> None:
    node.options.call_cost = 60.0
    result = await run(PROXMOX_PVESH_TIMEOUT="0.3", PROXMOX_WARM_WORKERS="0")
    result.explains("pvesh", "pvesh-timeout", "no answer within PROXMOX_PVESH_TIMEOUT", "time pvesh get /version")


@pytest.mark.gen_test
async def test_a_cookie_that_cannot_be_made_stops_only_what_needs_it(
    run: Check, node: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = node.commands.run

    async def no_perl(words: list[str], *more: Any) -> Outcome:
        return Outcome(2, "", "unable to open authkey.key\n") if words[0] == "perl" else await real(words, *more)

    monkeypatch.setattr(node.commands, "run", no_perl)
    result = await run(PROXMOX_WARM_WORKERS="0")
    assert result.failed() == ["auth cookie"]
    assert "detail: exit 2: unable to open authkey.key" in result.said["auth cookie"]
    assert [result.marks[step] for step in ("VM", "ticket", "TLS", "websocket")] == ["✓", "✓", "✓", "–"]


@pytest.mark.gen_test
async def test_ssh_and_web_of_two_clusters(run: Check, stranger: SimulatedCluster) -> None:
    result = await run(PROXMOX_HOST=_web(stranger))
    result.explains("TLS", "tls-mismatch", "not signed by the cluster's CA")
    result = await run(PROXMOX_HOST=_web(stranger), PROXMOX_TLS_INSECURE_SKIP_VERIFY="true")
    result.explains(
        "websocket", "cookie-refused", "PROXMOX_HOST is no node of the cluster", "Let both settings name the same node"
    )
    assert "warning: PROXMOX_TLS_INSECURE_SKIP_VERIFY is set" in result.said["TLS"]
    assert "detail: 401 Authentication failed!" in result.said["websocket"]


@pytest.mark.gen_test
async def test_ssh_and_web_of_two_nodes_whose_clocks_differ(run: Check, relative: SimulatedCluster) -> None:
    relative.tickets.clock = lambda: time.time() + 60
    result = await run(PROXMOX_HOST=_web(relative))
    result.explains("websocket", "ticket-refused", "clocks differ", "timedatectl", "401 permission denied - invalid")


@pytest.mark.gen_test
async def test_ssh_and_web_of_two_nodes(run: Check, relative: SimulatedCluster) -> None:
    """Cookie and ticket hold on every node of a cluster, but the console's port is open where pvesh ran."""
    result = await run(PROXMOX_HOST=_web(relative), CONSOLE_HANDSHAKE_TIMEOUT="1")
    result.explains(
        "websocket", "upstream-silent", "another node than the one where pvesh ran",
        "Let PROXMOX_HOST and PROXMOX_SSH_HOST name the same node", "no answer within 1 s",
    )  # fmt: skip


@pytest.mark.gen_test
async def test_the_certificate_of_another_node_is_noticed(run: Check, node: SimulatedCluster) -> None:
    node.consoles.here = "pve2"  # whose name the task's id bears; the certificate is pve1's
    result = await run()
    assert result.status == 0
    assert "warning: it is the certificate of pve1, but pvesh ran on pve2: PROXMOX_HOST and" in result.said["TLS"]


@pytest.mark.parametrize(("ahead", "words"), [(100, "ahead of"), (-100, "behind")])
@pytest.mark.gen_test
async def test_a_clock_that_is_off(run: Check, node: SimulatedCluster, ahead: int, words: str) -> None:
    node.tickets.clock = lambda: time.time() + ahead
    result = await run()
    assert result.status == 0
    said = result.said["auth cookie"]
    assert f" s {words} this machine's; compare both with `timedatectl`" in said
    assert 95 <= int(said.partition("the clock of pve1 is ")[2].partition(" s ")[0]) <= 101


@pytest.mark.gen_test
async def test_a_clock_that_is_a_little_off(run: Check, node: SimulatedCluster) -> None:
    node.tickets.clock = lambda: time.time() + 5
    assert "warning" not in (await run()).said["auth cookie"]


@pytest.mark.gen_test
async def test_tickets_of_old(run: Check, node: SimulatedCluster) -> None:
    node.options.hardened = False
    result = await run()
    assert result.status == 0
    assert result.said["ticket"].startswith("old format, from before April 2026; pvesh ran on pve1")


@pytest.mark.gen_test
async def test_a_cookie_by_password(run: Check, node: SimulatedCluster) -> None:
    password = node.state.users["root@pam"].password
    result = await run(PROXMOX_PASSWORD=password)
    assert result.status == 0
    assert result.said["auth cookie"] == "root@pam signed in with PROXMOX_PASSWORD"
    assert password not in str(result)


@pytest.mark.gen_test
async def test_a_wrong_password_is_not_shown(run: Check) -> None:
    result = await run(PROXMOX_PASSWORD="not that one")
    assert result.failed() == ["auth cookie"]
    assert "or PROXMOX_PASSWORD is wrong" in result.said["auth cookie"]
    assert [result.marks[step] for step in ("VM", "ticket", "TLS", "websocket")] == ["✓", "✓", "✓", "–"]
    assert "not that one" not in str(result)


@pytest.mark.gen_test
async def test_a_user_who_is_not_the_tickets(run: Check) -> None:
    result = await run(PROXMOX_USER="gw@pve", PROXMOX_PASSWORD="any")
    assert "PROXMOX_USER: must be root@pam" in result.said["settings"]
    assert result.failed() == ["settings"]


@pytest.mark.gen_test
async def test_a_problem_that_comes_twice_is_explained_once(run: Check, node: SimulatedCluster) -> None:
    """Nothing trusts the certificate, neither the sign-in nor the console."""
    result = await run(PROXMOX_PASSWORD="any", PROXMOX_TLS_FINGERPRINT="0" * 64)
    assert result.failed() == ["auth cookie", "TLS"]
    assert "mend: Compare with the node's own" in result.said["auth cookie"]
    assert "cause: the same as above detail: the certificate is not the pinned one, but " in result.said["TLS"]


@pytest.mark.gen_test
async def test_a_screen_that_closes(run: Check, node: SimulatedCluster) -> None:
    await node.booted()
    await node.guests[100].stop()  # the cluster has not noticed
    result = await run("demo/100")
    result.explains("VNC sign-in", "upstream-closed", "A bare TCP close", "Try again when the VM runs")


@pytest.mark.gen_test
async def test_a_vm_that_stops_meanwhile_is_told_by_the_cluster(
    run: Check, node: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.booted()
    listen = node.consoles.listen

    def stop_then_listen(vm: Any, *more: Any) -> Any:
        node.state.vms[100].running = False
        return listen(vm, *more)

    monkeypatch.setattr(node.consoles, "listen", stop_then_listen)
    result = await run("demo/100")
    result.explains("VNC sign-in", "vm-stopped", "Start it in Proxmox", "is stopped (seen first: upstream-closed: ")


@pytest.mark.gen_test
async def test_a_viewer_that_comes_in_between(
    run: Check, node: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DrawnGuest.connect

    async def connect(self: DrawnGuest) -> Any:
        await self.set_password("another!", 30.0)
        return await real(self)

    monkeypatch.setattr(DrawnGuest, "connect", connect)
    result = await run()
    result.explains("VNC sign-in", "vnc-auth-failed", "another viewer", "Try again", "detail: Authentication failed")


@pytest.mark.gen_test
async def test_the_vm_that_is_chosen(run: Check, node: SimulatedCluster) -> None:
    """A running one, rather on the node that SSH leads to."""
    await node.booted()
    node.state.vms[100].node = "pve2"
    assert (await run()).said["VM"] == "demo/105 win-client runs on pve1 (chosen here)"
    await node.stop_vm(105)
    assert (await run()).said["VM"] == "demo/100 kali-07 runs on pve2 (chosen here)"
    for vmid in (100, 102):
        await node.stop_vm(vmid)
    (await run()).explains("VM", "vm-stopped", "Start it in Proxmox", "detail: none of the 7 VMs of demo runs")


@pytest.mark.gen_test
async def test_a_vm_that_is_locked_but_runs(run: Check, node: SimulatedCluster) -> None:
    node.lock_vm(100, "backup")
    result = await run("demo/100")
    assert result.status == 0
    assert result.said["VM"] == "demo/100 kali-07 runs on pve1 warning: demo/100 is locked (backup)"


@pytest.mark.gen_test
async def test_no_connection_stays(run: Check, node: SimulatedCluster) -> None:
    assert (await run()).status == 0
    while node.api.connections or node.consoles.listening:
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_over_https_alone(run: Check, node: SimulatedCluster) -> None:
    await node.booted()
    node.state.tokens["root@pam!lab"] = "tokens-secret"
    result = await run(
        PROXMOX_SOURCE="https", PROXMOX_TOKEN_NAME="root@pam!lab", PROXMOX_TOKEN_VALUE="tokens-secret",
        PROXMOX_TLS_CA_FILE=str(node.folder / "pve-root-ca.pem"), PROXMOX_SSH_HOST="", PROXMOX_SSH_KEY_PATH="",
        PROXMOX_SSH_KNOWN_HOSTS="",
    )  # fmt: skip
    assert result.failed() == []
    assert result.said["SSH"].startswith("not needed")
    assert "the API token root@pam!lab" in result.said["auth cookie"]
    assert "asked over HTTPS, pve1 opened port 59" in result.said["ticket"]
    assert "tokens-secret" not in str(result)
