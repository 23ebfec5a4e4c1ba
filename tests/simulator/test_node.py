"""The whole path of one console: SSH, pvesh, cookie, websocket, RFB, pixels, keys."""

from __future__ import annotations

import asyncio
import json
import os
import shlex

import pytest

from cyberlab.simulator import guest_qemu
from cyberlab.simulator.node import SimulatedCluster
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


@pytest.mark.gen_test(timeout=20)
async def test_drawn_console(cluster: SimulatedCluster) -> None:
    viewer = await _walk(cluster)
    assert viewer.size == (640, 400)


@pytest.mark.skipif(not guest_qemu.available() and os.environ.get("CI") != "true", reason="qemu-system-x86 is missing")
@pytest.mark.gen_test(timeout=30)
async def test_qemu_console(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(qemu=True)
    await _walk(cluster)
