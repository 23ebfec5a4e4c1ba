"""The whole path of one console: SSH, pvesh, cookie, websocket, RFB, pixels, keys."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
from pathlib import Path

import pytest

from cyberlab.simulator.node import SimulatedCluster, StateInUse
from cyberlab.simulator.state import Vm
from tests.services import require
from tests.simulator.clients import UPGRADE, Connection, Viewer, connect_ssh, execute, websocket_path
from tests.simulator.conftest import MakeCluster

MINT = "PVE::RPCEnvironment->setup_default_cli_env(); print PVE::AccessControl::assemble_ticket(q(root@pam))"


def _by_ssh(cluster: SimulatedCluster, vmid: int) -> tuple[dict[str, str], str]:
    """A console ticket and a cookie, as the portal gets them."""
    client = connect_ssh(cluster)
    try:
        node = f"/nodes/pve1/qemu/{vmid}"
        ticket = execute(client, f"pvesh create {node}/vncproxy --websocket 1 --output-format json")
        assert ticket.exit == 0, ticket.stderr
        cookie = execute(client, f"perl -MPVE::RPCEnvironment -e {shlex.quote(MINT)}")
        assert cookie.exit == 0, cookie.stderr
        return json.loads(ticket.stdout), cookie.stdout
    finally:
        client.close()


async def _open(cluster: SimulatedCluster, vmid: int) -> tuple[Connection, Viewer, str]:
    ticket, cookie = await asyncio.to_thread(_by_ssh, cluster, vmid)
    connection = await Connection.open(cluster)
    path = websocket_path(vmid, ticket["port"], ticket["ticket"])
    status, reason, _ = await connection.get(path, Cookie=f"PVEAuthCookie={cookie}", **UPGRADE)
    assert (status, reason) == (101, "Switching Protocols")
    return connection, Viewer(connection), ticket["password"]


async def _walk(cluster: SimulatedCluster) -> Viewer:
    connection, viewer, password = await _open(cluster, 100)
    await viewer.authenticate(password)
    viewer.request(incremental=False)
    assert await viewer.update(), "first pixels"
    before = cluster.api.connections
    viewer.request(incremental=True)
    viewer.key(ord("a"))
    changed = await viewer.update()
    assert any(len({pixels[i : i + 4] for i in range(0, len(pixels), 4)}) > 1 for _, pixels in changed)
    assert before == 1
    await connection.close()
    return viewer


@pytest.mark.gen_test
async def test_drawn_console(cluster: SimulatedCluster) -> None:
    viewer = await _walk(cluster)
    assert viewer.size == (640, 400)


@pytest.mark.gen_test
async def test_qemu_console(make_cluster: MakeCluster) -> None:
    require("qemu")
    cluster = await make_cluster(qemu=True)
    await _walk(cluster)


@pytest.mark.gen_test
async def test_two_consoles_race_in_qemu_too(make_cluster: MakeCluster) -> None:
    require("qemu")
    cluster = await make_cluster(qemu=True)
    one, first, password = await _open(cluster, 100)
    challenge = await first.challenge()
    two, second, later = await _open(cluster, 100)
    await second.authenticate(later)
    with pytest.raises(PermissionError, match="Authentication failed"):
        await first.respond(challenge, password)
    await one.close()
    await two.close()


@pytest.mark.gen_test
async def test_one_simulator_for_a_directory(cluster: SimulatedCluster) -> None:
    with pytest.raises(StateInUse):
        await SimulatedCluster(cluster.folder, qemu=False).start()


@pytest.mark.gen_test
async def test_a_port_that_is_taken_leaves_nothing_behind(cluster: SimulatedCluster, tmp_path: Path) -> None:
    for name in ("authkey.key", "pve-root-ca.key", "pve-ssl.key"):
        shutil.copy(cluster.folder / name, tmp_path)
    second = SimulatedCluster(tmp_path, qemu=False, api_port=cluster.api.port)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    assert not (tmp_path / "run").exists()


@pytest.mark.gen_test
async def test_a_long_path_is_no_obstacle(cluster: SimulatedCluster, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    for name in ("authkey.key", "pve-root-ca.key", "pve-ssl.key"):
        shutil.copy(cluster.folder / name, folder)
    second = SimulatedCluster(folder, qemu=False)
    await second.start()
    await second.close()


@pytest.mark.gen_test
async def test_tests_may_change_the_cluster(cluster: SimulatedCluster) -> None:
    await cluster.start_vm(101)
    cluster.lock_vm(101, "snapshot")
    assert cluster.guests[101].running
    await cluster.stop_vm(101)
    await cluster.delete_vm(101)
    await cluster.add_vm(Vm(400, "pve1", "fresh", running=True))
    await cluster.booted()
    assert cluster.guests[400].running
    rows = {row["vmid"]: (row["name"], row["status"]) for row in cluster.vms()}
    assert 101 not in rows
    assert rows[400] == ("fresh", "running")
