"""The far end of a terminal, by itself and behind the web port."""

from __future__ import annotations

import asyncio
import json

import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.termproxy import Reader, Resize
from tests import patience
from tests.simulator.clients import UPGRADE, Connection, cookie, websocket_path
from tests.simulator.conftest import MakeCluster


def test_the_clients_messages() -> None:
    reader = Reader()
    assert reader.feed(b"0:5:hello1:132:43:20:2:\xc3\xbc") == [b"hello", Resize(132, 43), "ü".encode()]
    assert reader.feed(b"2") == []
    assert reader.feed(b"0:3:a") == [b"a"], "the ping waited for a second byte; input passes as it comes"
    assert reader.feed(b"b") == [b"b"]
    assert reader.feed(b"c0:1:d") == [b"c", b"d"]


def test_a_header_that_is_cut_is_lost() -> None:
    reader = Reader()
    assert reader.feed(b"1:80:") == []
    assert reader.feed(b"24:0:1:a") == [b"a"], "passed over as unknown"
    assert Reader().feed(b"0:x:0:1:a") == [b"a"]
    assert Reader().feed(b"0:" + b"9" * 45) == []


def test_what_came_with_the_line_of_authentication_counts() -> None:
    assert Reader(b"0:2:hi").feed(b"") == [b"hi"]


class Dialled:
    """A terminal's websocket, before the line of authentication."""

    def __init__(self, connection: Connection, line: bytes, port: str) -> None:
        self.connection, self.line, self.port = connection, line, port

    @classmethod
    async def open(
        cls, cluster: SimulatedCluster, vmid: int = 300, kind: str = "lxc", user: str = "root@pam"
    ) -> Dialled:
        argv = ["create", f"/nodes/pve1/{kind}/{vmid}/termproxy", "--output-format", "json"]
        got = json.loads((await cluster.pvesh.run(argv)).stdout)
        connection = await Connection.open(cluster)
        path = websocket_path(vmid, got["port"], got["ticket"], kind=kind)
        status, _, _ = await connection.get(path, Cookie=cookie(cluster), **UPGRADE)
        assert status == 101
        return cls(connection, f"{user}:{got['ticket']}\n".encode(), got["port"])

    async def text(self, until: str) -> str:
        """What is drawn up to these words."""
        drawn = ""
        async with asyncio.timeout(patience.SECONDS):
            while until not in drawn:
                opcode, payload = await self.connection.frame()
                assert opcode == 2
                drawn += payload.decode()
        return drawn

    async def closed(self) -> bytes:
        """Whatever comes before the bare close."""
        async with asyncio.timeout(patience.SECONDS):
            return await self.connection.reader.read()


@pytest.mark.parametrize(("vmid", "kind"), [(300, "lxc"), (100, "qemu")])
@pytest.mark.gen_test
async def test_ok_in_a_frame_of_its_own_then_the_terminal(cluster: SimulatedCluster, vmid: int, kind: str) -> None:
    await cluster.booted()
    dialled = await Dialled.open(cluster, vmid, kind)
    # In two pieces, and with a message behind it.
    dialled.connection.send(dialled.line[:40])
    dialled.connection.send(dialled.line[40:] + b"1:100:30:")
    assert await dialled.connection.frame() == (2, b"OK")
    await dialled.text("# ")
    dialled.connection.send(b"0:10:stty size\r")
    assert "30 100" in await dialled.text("30 100")
    await dialled.connection.close()


@pytest.mark.parametrize("line", [b"gw@pve:{}\n", b"root@pam:PVEVNC:6B02E096::AAAA\n", b"nonsense\n", b"x" * 5000])
@pytest.mark.gen_test
async def test_a_wrong_line_is_answered_by_a_close(cluster: SimulatedCluster, line: bytes) -> None:
    dialled = await Dialled.open(cluster)
    ticket = dialled.line.strip().partition(b":")[2]
    dialled.connection.send(line.replace(b"{}", ticket))
    assert await dialled.closed() == b""
    argv = ["get", "/nodes/pve1/tasks", "--errors", "1", "--output-format", "json"]
    async with asyncio.timeout(patience.SECONDS):
        while not (failed := json.loads((await cluster.pvesh.run(argv)).stdout)):
            await asyncio.sleep(0.01)
    assert "/usr/bin/termproxy" in failed[0]["status"]


@pytest.mark.parametrize("hardened", [True, False], ids=["since 2026-04", "before"])
@pytest.mark.gen_test
async def test_another_ticket_that_holds(cluster: SimulatedCluster, hardened: bool) -> None:
    """Since April 2026 a worker knows the ticket that was given with its port, and takes no other."""
    cluster.options.hardened = hardened
    dialled = await Dialled.open(cluster)
    cluster.state.users["low@pve"].permissions["/vms/300"] = frozenset({"VM.Console"})
    signed = cluster.tickets.vnc_ticket("low@pve", "/vms/300", int(dialled.port) if hardened else None)
    dialled.connection.send(f"low@pve:{signed}\n".encode())
    if hardened:
        assert await dialled.closed() == b""
    else:
        assert await dialled.connection.frame() == (2, b"OK")
        await dialled.connection.close()


@pytest.mark.gen_test
async def test_silence_is_answered_by_a_close(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(terminal_sign_in=0.2))
    assert await (await Dialled.open(cluster)).closed() == b""


@pytest.mark.gen_test
async def test_two_share_one_terminal(cluster: SimulatedCluster) -> None:
    first, second = await Dialled.open(cluster), await Dialled.open(cluster)
    for dialled in (first, second):
        dialled.connection.send(dialled.line)
        await dialled.text("# ")
    first.connection.send(b"0:8:echo hi\r")
    assert "\r\nhi\r\n" in await second.text("hi\r\n")
    await cluster.stop_vm(300)
    await first.closed()
    await second.closed()
    assert cluster.terminals.of == {}


@pytest.mark.gen_test
async def test_a_container_that_is_off_lets_us_in_and_ends(cluster: SimulatedCluster) -> None:
    await cluster.stop_vm(300)
    dialled = await Dialled.open(cluster)
    dialled.connection.send(dialled.line)
    assert await dialled.connection.frame() == (2, b"OK")
    assert b"not running" in await dialled.closed()


@pytest.mark.gen_test
async def test_a_quiet_terminal_stays(make_cluster: MakeCluster) -> None:
    """Unlike `qm vncproxy`, termproxy does not leave when nothing happens."""
    cluster = await make_cluster(options=Options(idle_exit=0.1))
    dialled = await Dialled.open(cluster)
    dialled.connection.send(dialled.line)
    await dialled.text("# ")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await dialled.connection.frame()
    await dialled.connection.close()
