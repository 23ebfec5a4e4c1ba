"""Several nodes at addresses of their own: what is one node's, what is the cluster's, and nodes that go away."""

from __future__ import annotations

import asyncio
import json
import time
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tornado.ioloop import IOLoop

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import Outcome
from cyberlab.simulator.state import classroom, demo_cluster
from tests.simulator.clients import (
    UPGRADE,
    Connection,
    Ticket,
    Viewer,
    call,
    connect_ssh,
    cookie,
    execute,
    get_ticket,
    open_console,
    signed_in,
)
from tests.simulator.conftest import MakeCluster

ADDRESSES = {"pve1": "127.0.0.11", "pve2": "127.0.0.12", "pve3": "127.0.0.13"}
VERSION = "pvesh get /version --output-format json"


@pytest.fixture
def three(io_loop: IOLoop, make_cluster: MakeCluster) -> SimulatedCluster:
    async def make() -> SimulatedCluster:
        return await make_cluster(addresses=ADDRESSES)

    return io_loop.run_sync(make)


async def _run(cluster: SimulatedCluster, node: str, *lines: str) -> list[Outcome]:
    def run() -> list[Outcome]:
        with connect_ssh(cluster, node) as client:
            return [execute(client, line) for line in lines]

    return await asyncio.to_thread(run)


@pytest.mark.gen_test
async def test_commands_run_on_the_node_that_was_reached(three: SimulatedCluster) -> None:
    ports = {(member.sshd.port, member.api.port) for member in three.members.values()}
    assert len(ports) == 1, "the same two ports, at other addresses"
    for node in ("pve1", "pve2"):
        name, ticket = await _run(
            three, node, "hostname", "pvesh create /nodes/pve1/qemu/100/vncproxy --websocket 1 --output-format json"
        )
        assert name.stdout == f"{node}\n"
        answer = json.loads(ticket.stdout)
        assert answer["upid"].startswith(f"UPID:{node}:")
        assert three.members[node].consoles.listening == [int(answer["port"])] == [5900]


@pytest.mark.gen_test
async def test_a_ticket_opens_where_pvesh_ran_and_nowhere_else(three: SimulatedCluster) -> None:
    argv = ["create", "/nodes/pve2/qemu/102/vncproxy", "--websocket", "1", "--output-format", "json"]
    answer = json.loads((await three.members["pve2"].pvesh.run(argv)).stdout)
    ticket = Ticket(102, answer["port"], answer["ticket"], answer["password"], "pve2")
    elsewhere = await Connection.open(three, "pve1")
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Cookie": cookie(three), **UPGRADE}.items()]
    elsewhere.writer.write("\r\n".join([f"GET {ticket.path} HTTP/1.1", *lines, "", ""]).encode())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(elsewhere.reader.read(1), 0.3)
    await elsewhere.close()
    there = await Connection.open(three, "pve2")
    assert (await there.get(ticket.path, Cookie=cookie(three), **UPGRADE))[0] == 101
    await Viewer(there).authenticate(ticket.password)
    await there.close()


@pytest.mark.gen_test
async def test_certificates_and_addresses(three: SimulatedCluster) -> None:
    headers = signed_in(three)
    rows = {row["node"]: row for row in (await call(three, "GET", "/nodes", node="pve2", **headers)).data}
    prints = {name: member.certificates.fingerprint for name, member in three.members.items()}
    assert {name: row["ssl_fingerprint"] for name, row in rows.items()} == prints
    assert len(set(prints.values())) == 3
    info = (await call(three, "GET", "/nodes/pve2/certificates/info", **headers)).data[1]
    assert info["san"] == [
        "127.0.0.1",
        "0000:0000:0000:0000:0000:0000:0000:0001",
        "192.0.2.3",
        "127.0.0.12",
        "localhost",
        "pve2",
    ]
    status = (await call(three, "GET", "/cluster/status", node="pve2", **headers)).data
    assert [(row["name"], row["ip"], row["local"]) for row in status[1:3]] == [
        ("pve1", "127.0.0.11", 0),
        ("pve2", "127.0.0.12", 1),
    ]


@pytest.mark.gen_test
async def test_a_node_without_power_answers_nobody(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(patience=20.0), addresses=ADDRESSES)
    kept = await asyncio.to_thread(connect_ssh, cluster, "pve2")
    web = await Connection.open(cluster, "pve2")
    cluster.set_offline("pve2")
    for port in (cluster.members["pve2"].sshd.port, cluster.members["pve2"].api.port):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection("127.0.0.12", port), 0.3)
    asked = asyncio.create_task(asyncio.to_thread(execute, kept, VERSION))
    called = asyncio.create_task(web.call("GET", "/version", Cookie=cookie(cluster)))
    await _run(cluster, "pve1", VERSION)
    assert not asked.done()
    assert not called.done()
    cluster.set_offline("pve2", False)
    assert (await asked).exit == 0
    assert (await called).status == 200
    assert (await _run(cluster, "pve2", VERSION))[0].exit == 0
    kept.close()
    await web.close()


@pytest.mark.gen_test
async def test_consoles_of_a_node_without_power_fall_silent(three: SimulatedCluster) -> None:
    argv = ["create", "/nodes/pve2/qemu/102/vncproxy", "--websocket", "1", "--output-format", "json"]
    answer = json.loads((await three.pvesh.run(argv)).stdout)
    ticket = Ticket(102, answer["port"], answer["ticket"], answer["password"], "pve2")
    console = await open_console(three, ticket)
    viewer = Viewer(console)
    await viewer.authenticate(ticket.password)
    three.set_offline("pve2")
    viewer.request(incremental=False)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(console.reader.read(1), 0.3)
    three.set_offline("pve2", False)
    assert await viewer.update()
    await console.close()


@pytest.mark.gen_test
async def test_a_live_migration_ends_consoles(three: SimulatedCluster) -> None:
    ticket = await get_ticket(three)
    console = await open_console(three, ticket)
    await Viewer(console).authenticate(ticket.password)
    await three.migrate_live(100, "pve2")
    while await console.reader.read(65536):
        pass
    await console.close()
    again = await get_ticket(three, node="pve2")
    assert three.guests[100].running
    console = await open_console(three, again)
    await Viewer(console).authenticate(again.password)
    await console.close()


@pytest.mark.gen_test
async def test_sshd_restarts_on_the_same_port(three: SimulatedCluster) -> None:
    client = await asyncio.to_thread(connect_ssh, three)
    ticket = await get_ticket(three)
    console = await open_console(three, ticket)
    await three.sshd.restart()
    transport = client.get_transport()
    assert transport is not None
    await asyncio.to_thread(transport.join, 5)
    assert not transport.is_active()
    assert (await _run(three, "pve1", VERSION))[0].exit == 0
    await Viewer(console).authenticate(ticket.password)
    await console.close()
    client.close()


@pytest.mark.gen_test
async def test_pveproxy_reload_keeps_consoles_and_restart_does_not(three: SimulatedCluster) -> None:
    ticket = await get_ticket(three)
    console = await open_console(three, ticket)
    await Viewer(console).authenticate(ticket.password)
    idle = await Connection.open(three)
    await idle.call("GET", "/version", Cookie=cookie(three))
    three.api.reload()
    assert await idle.reader.read() == b""
    await idle.close()
    assert len(three.api.consoles) == 1
    await three.api.restart()
    while await console.reader.read(65536):
        pass
    await console.close()
    assert (await call(three, "GET", "/version", Cookie=cookie(three))).status == 200


@pytest.mark.gen_test
async def test_a_clock_that_is_ahead(three: SimulatedCluster) -> None:
    three.state.nodes["pve2"].skew = 90.0
    now = int(time.time())
    clock, here = (await _run(three, "pve2", "date +%s.%N"))[0], (await _run(three, "pve1", "date +%s.%N"))[0]
    assert 80 < float(clock.stdout) - float(here.stdout) < 100
    told = (await call(three, "GET", "/nodes/pve2/time", node="pve2", **signed_in(three))).data["time"]
    assert 80 < told - now < 100
    argv = ["create", "/nodes/pve1/qemu/100/vncproxy", "--websocket", "1", "--output-format", "json"]
    answer = json.loads((await three.members["pve2"].pvesh.run(argv)).stdout)
    assert not three.tickets.vnc_holds(answer["ticket"], "root@pam", "/vms/100", int(answer["port"]))
    three.tickets.rotate()
    minted = three.members["pve2"].tickets.cookie("root@pam")
    assert three.tickets.cookie_user(minted) == "root@pam", "one key, and cookies bear five minutes"


@pytest.mark.gen_test
async def test_processor_time_is_counted(make_cluster: MakeCluster) -> None:
    options = Options(cores=2, call_cpu=0.02, https_cpu=0.01, vncproxy_cpu=0.01)
    cluster = await make_cluster(options=options, addresses=ADDRESSES)
    await _run(cluster, "pve2", VERSION, VERSION)
    await call(cluster, "GET", "/version", node="pve2", Cookie=cookie(cluster))
    assert cluster.cpu_used()["pve2"] == {"pvesh": 0.04, "https": 0.01}
    assert cluster.cpu_used()["pve1"] == {}
    await _run(cluster, "pve1", "pvesh get /nodes/pve2/qemu/102/config --output-format json")
    assert cluster.cpu_used()["pve1"] == {"pvesh": 0.02}
    assert cluster.cpu_used()["pve2"] == {"pvesh": pytest.approx(0.06), "https": 0.01}, "started anew over there"


@pytest.mark.gen_test
async def test_max_startups(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(max_startups=(2, 100, 2)))
    waiting = [await asyncio.open_connection("127.0.0.1", cluster.sshd.port) for _ in range(3)]
    assert await waiting[2][0].read() == b"", "the third is turned away"
    for _, writer in waiting:
        writer.close()
        await writer.wait_closed()


@pytest.mark.gen_test
async def test_two_clusters_with_the_same_vmids(make_cluster: MakeCluster, tmp_path: Path) -> None:
    one = await make_cluster(state=classroom("north", 2, 4), addresses=dict(list(ADDRESSES.items())[:2]))
    two = SimulatedCluster(
        tmp_path, qemu=False, state=classroom("south", 1, 4), addresses={"pve1": "127.0.0.21"}, options=Options()
    )
    await two.start()
    try:
        found = tomllib.loads(one.environment_toml() + "\n" + two.environment_toml())["cluster"]
        assert [cluster["name"] for cluster in found] == ["north", "south"]
        assert [len(cluster["node"]) for cluster in found] == [2, 1]
        assert urlsplit(found[1]["node"][0]["host"]).hostname == "127.0.0.21"
        assert {vm["vmid"] for vm in one.vms()} == {vm["vmid"] for vm in two.vms()} == {100, 101, 102, 103}
        assert one.tickets.cookie_user(two.tickets.cookie("root@pam")) is None
    finally:
        await two.close()


def test_demo_cluster_is_untouched_by_addresses() -> None:
    assert demo_cluster().nodes["pve1"].address == "192.0.2.2"
