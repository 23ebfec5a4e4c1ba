"""An open console: which frames pass, which wedge it, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.websocket import MAX_PAYLOAD, READ_BUFFER, Relay
from tests import patience
from tests.simulator.clients import Connection, Viewer, get_ticket, open_console
from tests.simulator.conftest import MakeCluster
from tests.simulator.test_api import _ended, _silent

VERSION = b"RFB 003.008\n"


async def _greeted(cluster: SimulatedCluster, vmid: int = 100) -> Connection:
    """A console whose guest has said its version."""
    connection = await open_console(cluster, await get_ticket(cluster, vmid))
    assert await connection.frame() == (2, VERSION)
    return connection


async def _viewing(cluster: SimulatedCluster, vmid: int = 100) -> tuple[Connection, Viewer]:
    ticket = await get_ticket(cluster, vmid)
    connection = await open_console(cluster, ticket)
    viewer = Viewer(connection)
    await viewer.authenticate(ticket.password)
    return connection, viewer


def _relay(cluster: SimulatedCluster) -> Relay:
    (relay,) = cluster.api.consoles
    return relay


@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.gen_test
async def test_text_and_binary_pass_alike(cluster: SimulatedCluster, opcode: int) -> None:
    connection = await _greeted(cluster)
    connection.send(VERSION[:5], opcode)
    connection.send(b"", opcode)
    connection.send(VERSION[5:], opcode)
    assert await connection.frame() == (2, b"\x01\x02")
    await connection.close()


@pytest.mark.gen_test
async def test_the_largest_frame(cluster: SimulatedCluster) -> None:
    connection, viewer = await _viewing(cluster)
    text = b"x" * (READ_BUFFER - 8 - 8)  # a frame's header is as long as this message's
    connection.send(struct.pack(">B3xI", 6, len(text)) + text)  # ClientCutText
    viewer.request(incremental=False)
    assert await viewer.update()
    await connection.close()


@pytest.mark.gen_test
async def test_a_frame_that_does_not_fit_into_the_buffer_ends_the_console(cluster: SimulatedCluster) -> None:
    """AnyEvent::Handle, rbuf_max: "No space left on device", long before the limit that pveproxy itself knows."""
    connection, _ = await _viewing(cluster)
    connection.send(b"x" * (READ_BUFFER + 1))
    assert await connection.reader.read() == b""
    await connection.close()


WRONG = {
    "unmasked": {"mask": False},
    "fragmented": {"first": 0x00},
    "reserved bit": {"first": 0xC0},
    "unknown opcode": {"opcode": 3},
    "too large": {"size": MAX_PAYLOAD + 1},
}


@pytest.mark.parametrize("how", WRONG.values(), ids=WRONG)
@pytest.mark.gen_test
async def test_a_wrong_frame_wedges_the_console(cluster: SimulatedCluster, how: dict[str, int]) -> None:
    connection = await _greeted(cluster)
    connection.send(VERSION, **how)
    connection.send(VERSION)
    connection.send(b"", 9)
    await _silent(connection)
    assert _relay(cluster).wedged
    connection.writer.transport.abort()
    await connection.close()
    while cluster.api.consoles:
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_a_wrong_frame_ends_every_console_where_there_is_no_libev(cluster: SimulatedCluster) -> None:
    cluster.options.libev = False
    first, second = await _greeted(cluster), await _greeted(cluster, 105)
    first.send(VERSION, mask=False)
    await _ended(first)
    await _ended(second)


@pytest.mark.gen_test
async def test_pings_are_answered_and_pongs_ignored(cluster: SimulatedCluster) -> None:
    connection = await _greeted(cluster)
    connection.send(b"", 10)
    connection.send(b"are you there", 9)
    assert await connection.frame() == (10, b"are you there")
    await connection.close()


@pytest.mark.gen_test
async def test_a_close_frame_is_answered_by_a_bare_close(cluster: SimulatedCluster) -> None:
    connection = await _greeted(cluster)
    connection.send(struct.pack(">H", 1000), 8)
    await _ended(connection)


@pytest.mark.gen_test
async def test_a_guest_that_stops_is_a_bare_close(cluster: SimulatedCluster) -> None:
    connection = await _greeted(cluster)
    await cluster.stop_vm(100)
    await _ended(connection)


@pytest.mark.gen_test
async def test_a_stopped_vm_gets_a_101_and_a_bare_close(cluster: SimulatedCluster) -> None:
    await _ended(await open_console(cluster, await get_ticket(cluster, 101)))


@pytest.mark.gen_test
async def test_a_vm_on_an_offline_node_is_silence(cluster: SimulatedCluster) -> None:
    connection = await open_console(cluster, await get_ticket(cluster, 200, "pve3"))
    await _silent(connection)
    await connection.close()
    while cluster.api.connections:
        await asyncio.sleep(0.01)


@pytest.mark.gen_test
async def test_pings_do_not_keep_a_console(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(idle_exit=0.4))
    connection = await _greeted(cluster)

    async def ping() -> None:
        while True:
            connection.send(b"", 9)
            await asyncio.sleep(0.05)

    pinging = asyncio.create_task(ping())
    pongs = 0
    try:
        async with asyncio.timeout(patience.SECONDS):
            while await connection.frame() == (10, b""):
                pongs += 1
    except asyncio.IncompleteReadError:
        pass  # the bare close
    finally:
        pinging.cancel()
        await asyncio.gather(pinging, return_exceptions=True)
    assert pongs
    await connection.close()


@pytest.mark.gen_test
async def test_only_rfb_counts_as_life(cluster: SimulatedCluster) -> None:
    connection, viewer = await _viewing(cluster)
    viewer.request(incremental=False)
    assert await viewer.update()
    before = _relay(cluster).moved
    connection.send(b"", 9)
    assert await connection.frame() == (10, b"")
    assert _relay(cluster).moved == before
    viewer.request(incremental=True)
    viewer.key(ord("k"))
    assert await viewer.update()
    assert _relay(cluster).moved > before
    await connection.close()


@pytest.mark.gen_test
async def test_two_consoles_race_for_one_password(cluster: SimulatedCluster) -> None:
    first, second = await get_ticket(cluster), await get_ticket(cluster)
    one, two = await open_console(cluster, first), await open_console(cluster, second)
    viewers = Viewer(one), Viewer(two)
    challenge = await viewers[0].challenge()
    await viewers[1].authenticate(second.password)
    with pytest.raises(PermissionError, match="Authentication failed"):
        await viewers[0].respond(challenge, first.password)
    third = await get_ticket(cluster)
    three = await open_console(cluster, third)
    await Viewer(three).authenticate(third.password)
    viewers[1].request(incremental=False)
    assert await viewers[1].update(), "one that is in stays in"
    for connection in (one, two, three):
        await connection.close()


@pytest.mark.gen_test
async def test_before_2026_every_console_had_the_same_password(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(hardened=False))
    connections = []
    for _ in range(2):
        ticket = await get_ticket(cluster)
        connections.append(await open_console(cluster, ticket))
    for connection in connections:
        await Viewer(connection).authenticate("PVEVNC:6")
        await connection.close()


@pytest.mark.gen_test
async def test_a_password_expires(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(password_lifetime=0.0))
    ticket = await get_ticket(cluster)
    connection = await open_console(cluster, ticket)
    with pytest.raises(PermissionError):
        await Viewer(connection).authenticate(ticket.password)
    await connection.close()


@pytest.mark.gen_test
async def test_a_client_that_does_not_read_fills_pveproxy(cluster: SimulatedCluster) -> None:
    cluster.options.client_buffer = 24 * 2**20
    connection, viewer = await _viewing(cluster)
    connection.writer.transport.pause_reading()
    relay = _relay(cluster)
    seen = 0
    while cluster.api.consoles:
        viewer.request(incremental=False)
        seen = max(seen, relay.buffered)
        await asyncio.sleep(0.001)
    assert seen > 16 * 2**20, "nothing held the guest back"
    connection.writer.transport.abort()
    await connection.close()


@pytest.mark.gen_test
async def test_a_console_outlives_its_cookie(cluster: SimulatedCluster) -> None:
    connection, viewer = await _viewing(cluster)
    cluster.tickets.rotate()
    cluster.tickets.rotate()
    viewer.request(incremental=False)
    assert await viewer.update()
    await connection.close()


@pytest.mark.gen_test
async def test_a_guest_that_does_not_read_ends_the_console() -> None:
    """To the VM pveproxy keeps 640 KiB and then disconnects (wbuf_max)."""
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    guest = await asyncio.open_connection(sock=ours)
    relay = Relay(await asyncio.open_connection(sock=near), guest, Options())
    client = Connection(*await asyncio.open_connection(sock=far))

    async def flood() -> None:
        while True:
            client.send(b"x" * (READ_BUFFER // 2))
            await client.writer.drain()

    flooding = asyncio.create_task(flood())
    await relay.run()
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    client.writer.transport.abort()
    relay._client.transport.abort()
    theirs.close()
