"""The simulated pvesh against what the real one printed (tests/data/pvesh-transcripts.json), and its other rules."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import Outcome
from cyberlab.simulator.state import MIB, demo_cluster
from tests.simulator.conftest import MakeCluster
from tests.simulator.transcripts import observed, replay


@pytest.mark.gen_test
async def test_transcripts_are_reproduced_in_order(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(state=observed())
    await replay(cluster.pvesh.run)


async def _json(cluster: SimulatedCluster, *argv: str) -> Any:
    got = await cluster.pvesh.run([*argv, "--output-format", "json"])
    assert got.exit == 0, got.stderr
    return json.loads(got.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("argv", "exit", "stderr"),
    [
        (["get"], 255, "400 not enough arguments\npvesh get <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"),
        (
            ["get", "/version", "--frob", "1", "--output-format", "json"],
            255,
            "Unknown option: frob\n400 unable to parse option\npvesh get <api_path> [OPTIONS] [FORMAT_OPTIONS]\n",
        ),
        (
            ["get", "/nodes/pve1/tasks", "--limit", "many", "--output-format", "json"],
            255,
            "400 Parameter verification failed.\nlimit: type check ('integer') failed - got 'many'\n"
            "pvesh get <api_path> [OPTIONS] [FORMAT_OPTIONS]\n",
        ),
        (
            ["create", "/nodes/pve1/qemu/103/snapshot", "--output-format", "json"],
            255,
            "400 Parameter verification failed.\nsnapname: property is missing and it is not optional\n"
            "pvesh create <api_path> [OPTIONS] [FORMAT_OPTIONS]\n",
        ),
        (
            ["get", "/nodes/pve1/qemu/1;reboot/config", "--output-format", "json"],
            255,
            "400 Parameter verification failed.\nvmid: type check ('integer') failed - got '1;reboot'\n"
            "pvesh get <api_path> [OPTIONS] [FORMAT_OPTIONS]\n",
        ),
        # No proxyto: the configuration is looked for under the node in the path, which need not exist.
        (
            ["create", "/nodes/nope/qemu/100/vncproxy", "--websocket", "1", "--output-format", "json"],
            2,
            "Configuration file 'nodes/nope/qemu-server/100.conf' does not exist\n",
        ),
    ],
)
@pytest.mark.gen_test
async def test_refused_calls(cluster: SimulatedCluster, argv: list[str], exit: int, stderr: str) -> None:
    assert await cluster.pvesh.run(argv) == Outcome(exit, "", stderr)


@pytest.mark.gen_test
async def test_options_with_an_equals_sign(cluster: SimulatedCluster) -> None:
    got = await cluster.pvesh.run(["get", "/cluster/resources", "--type=vm", "--output-format=json"])
    assert [row["vmid"] for row in json.loads(got.stdout)] == [100, 101, 102, 103, 104, 105, 200, 300]


@pytest.mark.gen_test
async def test_text_for_people_is_refused(cluster: SimulatedCluster) -> None:
    assert (await cluster.pvesh.run(["get", "/version"])).exit == 255


@pytest.mark.gen_test
async def test_a_console_of_another_node_opens_here(cluster: SimulatedCluster) -> None:
    ticket = await _json(cluster, "create", "/nodes/pve2/qemu/102/vncproxy", "--websocket", "1")
    assert ticket["upid"].startswith("UPID:pve1:")
    assert int(ticket["port"]) in cluster.consoles.listening


@pytest.mark.gen_test
async def test_a_hundred_ports_and_no_more(cluster: SimulatedCluster) -> None:
    ports = [
        (await _json(cluster, "create", "/nodes/pve1/qemu/100/vncproxy", "--websocket", "1"))["port"]
        for _ in range(100)
    ]
    assert sorted(ports) == [str(port) for port in range(5900, 6000)]
    got = await cluster.pvesh.run(
        ["create", "/nodes/pve1/qemu/100/vncproxy", "--websocket", "1", "--output-format", "json"]
    )
    assert got == Outcome(255, "", "unable to find free port (5900-6000)\n")


@pytest.mark.gen_test
async def test_nobody_came_within_the_accept_window(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(accept_window=0.05))
    upid = (await _json(cluster, "create", "/nodes/pve1/qemu/100/vncproxy", "--websocket", "1"))["upid"]
    status: dict[str, str] = {}
    while status.get("status") != "stopped":
        status = await _json(cluster, "get", f"/nodes/pve1/tasks/{upid}/status")
    assert status["exitstatus"] == "connection timed out"
    assert cluster.consoles.listening == []


@pytest.mark.gen_test
async def test_a_container_blocks_and_then_fails(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(lxc_vncproxy=0.01))
    got = await cluster.pvesh.run(
        ["create", "/nodes/pve1/lxc/300/vncproxy", "--websocket", "1", "--output-format", "json"]
    )
    assert got == Outcome(255, "", "Timeout while waiting for port '5901' to get ready!\n")


@pytest.mark.gen_test
async def test_an_offline_node_hangs(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(offline_hang=0.3))
    call = cluster.pvesh.run(["get", "/nodes/pve3/qemu/200/status/current", "--output-format", "json"])
    task = asyncio.create_task(call)
    await cluster.pvesh.run(["get", "/version", "--output-format", "json"])
    assert not task.done()
    got = await task
    assert (got.exit, got.stdout) == (255, "")
    assert got.stderr.startswith("ssh: connect to host 192.0.2.4 port 22: Connection timed out\nproxy handler failed: ")


@pytest.mark.gen_test
async def test_a_proxied_task_glues_its_log_to_its_upid(make_cluster: MakeCluster) -> None:
    state = demo_cluster()
    state.vms[102].disk = 1024 * MIB
    cluster = await make_cluster(state=state)
    answer = await _json(cluster, "create", "/nodes/pve2/qemu/102/snapshot", "--snapname", "before")
    assert answer.startswith("snapshotting 'drive-scsi0' (local:102/vm-102-disk-0.qcow2)\"UPID:pve2:")


@pytest.mark.gen_test
async def test_a_caller_who_leaves_breaks_the_task(cluster: SimulatedCluster) -> None:
    argv = ["create", "/nodes/pve1/qemu/103/snapshot", "--snapname", "second", "--output-format", "json"]
    await cluster.pvesh.run(argv, lambda: True)
    tasks = await _json(cluster, "get", "/nodes/pve1/tasks", "--limit", "1")
    assert (tasks[0]["type"], tasks[0]["status"]) == ("qmsnapshot", "broken pipe ")
    assert "second" not in cluster.state.vms[103].snapshots, "killed at its first line"


@pytest.mark.gen_test
async def test_power_reaches_the_guest(cluster: SimulatedCluster) -> None:
    async def status() -> tuple[str, bool]:
        facts = await _json(cluster, "get", "/nodes/pve1/qemu/101/status/current")
        return facts["status"], cluster.guests[101].running

    assert await status() == ("stopped", False)
    upid = await _json(cluster, "create", "/nodes/pve1/qemu/101/status/start")
    assert await status() == ("running", True)
    assert (await _json(cluster, "get", f"/nodes/pve1/tasks/{upid}/status"))["exitstatus"] == "OK"
    assert await _json(cluster, "get", f"/nodes/pve1/tasks/{upid}/log") == [{"n": 1, "t": "TASK OK"}]
    await _json(cluster, "create", "/nodes/pve1/qemu/101/status/reboot")
    await _json(cluster, "create", "/nodes/pve1/qemu/101/status/reset")
    assert await status() == ("running", True)
    await _json(cluster, "create", "/nodes/pve1/qemu/101/status/shutdown")
    assert await status() == ("stopped", False)


@pytest.mark.parametrize(
    ("vmid", "running", "action", "said"),
    [
        (300, True, "start", "CT 300 already running"),
        (300, False, "stop", "CT 300 not running"),
        (300, False, "shutdown", "CT 300 not running"),
        (300, False, "reboot", "VM 300 not running"),
        (101, False, "reboot", "VM 101 not running"),
    ],
)
@pytest.mark.gen_test
async def test_refused_before_there_is_a_task(
    cluster: SimulatedCluster, vmid: int, running: bool, action: str, said: str
) -> None:
    """PVE/API2/LXC/Status.pm looks before it forks; of a QEMU machine most of it is the task's affair."""
    vm = cluster.state.vms[vmid]
    vm.running = running
    got = await cluster.pvesh.run(["create", f"/nodes/pve1/{vm.kind}/{vmid}/status/{action}", "--output-format=json"])
    assert (got.exit != 0, got.stdout, got.stderr) == (True, "", f"{said}\n")
    assert await _json(cluster, "get", "/nodes/pve1/tasks", "--source", "all") == []


@pytest.mark.gen_test
async def test_a_paused_machine(cluster: SimulatedCluster) -> None:
    cluster.state.vms[105].paused = True
    rows = {row["vmid"]: row for row in await _json(cluster, "get", "/cluster/resources", "--type", "vm")}
    assert rows[105]["status"] == "paused", "pvestatd tells QEMU's own state"
    for action in ("shutdown", "reboot"):
        got = await cluster.pvesh.run(["create", f"/nodes/pve1/qemu/105/status/{action}", "--output-format=json"])
        assert (got.exit != 0, got.stdout, got.stderr) == (True, "", "VM is paused - cannot shutdown\n")
    assert await _json(cluster, "get", "/nodes/pve1/tasks", "--source", "all") == []


@pytest.mark.gen_test
async def test_a_container_has_no_reset_button(cluster: SimulatedCluster) -> None:
    got = await cluster.pvesh.run(["create", "/nodes/pve1/lxc/300/status/reset", "--output-format=json"])
    assert got.stderr == "No 'create' handler defined for '/nodes/pve1/lxc/300/status/reset'\n"


@pytest.mark.gen_test
async def test_rollback_switches_off_unless_asked_to_start(cluster: SimulatedCluster) -> None:
    await cluster.start_vm(103)
    await _json(cluster, "create", "/nodes/pve1/qemu/103/snapshot/lesson1/rollback")
    assert not cluster.guests[103].running
    await _json(cluster, "create", "/nodes/pve1/qemu/103/snapshot/lesson1/rollback", "--start", "1")
    assert cluster.guests[103].running
    await _json(cluster, "delete", "/nodes/pve1/qemu/103/snapshot/lesson1")
    assert [row["name"] for row in await _json(cluster, "get", "/nodes/pve1/qemu/103/snapshot")] == ["current"]


@pytest.mark.gen_test
async def test_offline_and_unknown_in_the_inventory(cluster: SimulatedCluster) -> None:
    rows = {row["vmid"]: row for row in await _json(cluster, "get", "/cluster/resources", "--type", "vm")}
    assert rows[200] == {"id": "qemu/200", "node": "pve3", "status": "unknown", "type": "qemu", "vmid": 200}
    assert (rows[102]["status"], rows[101]["status"], rows[104]["lock"]) == ("running", "stopped", "backup")
    cluster.set_offline("pve2")
    cluster.state.vms[102].tags, cluster.state.vms[102].lock = "netsec", "backup"
    rows = {row["vmid"]: row for row in await _json(cluster, "get", "/cluster/resources", "--type", "vm")}
    assert "name" not in rows[102]
    assert (rows[102]["tags"], rows[102]["lock"]) == ("netsec", "backup"), "of the configuration, which all nodes share"
    nodes = {row["node"]: row["status"] for row in await _json(cluster, "get", "/nodes")}
    assert nodes == {"pve1": "online", "pve2": "offline", "pve3": "offline"}


@pytest.mark.gen_test
async def test_the_inventory_may_be_stale(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(resources_age=60.0))
    before = await _json(cluster, "get", "/cluster/resources", "--type", "vm")
    await cluster.stop_vm(100)
    assert await _json(cluster, "get", "/cluster/resources", "--type", "vm") == before
    current = await _json(cluster, "get", "/nodes/pve1/qemu/100/status/current")
    assert current["status"] == "stopped"


@pytest.mark.gen_test
async def test_a_moved_vm_is_found_on_its_new_node_only(cluster: SimulatedCluster) -> None:
    cluster.migrate_vm(100, "pve2")
    got = await cluster.pvesh.run(["get", "/nodes/pve1/qemu/100/config", "--output-format", "json"])
    assert got == Outcome(2, "", "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist\n")
    assert (await _json(cluster, "get", "/nodes/pve2/qemu/100/config"))["name"] == "kali-07"
    await cluster.delete_vm(100)
    got = await cluster.pvesh.run(["get", "/nodes/pve2/qemu/100/config", "--output-format", "json"])
    assert got.exit == 255
    assert got.stderr.startswith("Configuration file 'nodes/pve2/qemu-server/100.conf' does not exist\nproxy handler")
