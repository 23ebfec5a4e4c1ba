"""The API over HTTPS: the same answers as pvesh's, for whoever may have them, and tasks that nobody waits for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from tests.simulator.clients import UPGRADE, Connection, Ticket, Viewer, call, cookie, signed_in
from tests.simulator.conftest import MakeCluster

VNCPROXY = "/nodes/pve1/qemu/100/vncproxy"
TOKEN = {"Authorization": "PVEAPIToken=low@pve!t1=right"}


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/version", {}),
        ("/nodes", {}),
        ("/cluster/resources", {"type": "vm"}),
        ("/nodes/pve1/qemu/101/status/current", {}),
        ("/nodes/pve2/qemu/102/config", {}),
        ("/nodes/pve1/qemu/103/snapshot", {}),
        ("/nodes/pve1/lxc/300/config", {}),
        ("/nodes/pve1/tasks", {"limit": "3"}),
        ("/nodes/pve1/certificates/info", {}),
        ("/access/users", {}),
        ("/access/permissions", {"userid": "low@pve"}),
    ],
)
@pytest.mark.gen_test
async def test_root_reads_what_pvesh_prints(cluster: SimulatedCluster, path: str, params: dict[str, str]) -> None:
    options = [word for name, value in params.items() for word in (f"--{name}", value)]
    printed = await cluster.pvesh.run(["get", path, *options, "--output-format", "json"])
    answer = await call(cluster, "GET", path, params, **signed_in(cluster))
    assert (answer.status, answer.body) == (200, {"data": json.loads(printed.stdout)})


@pytest.mark.parametrize(
    ("method", "path", "form", "status", "reason"),
    [
        ("GET", "/no/such/path", {}, 501, "Method 'GET /no/such/path' not implemented"),
        ("PUT", "/version", {}, 501, "Method 'PUT /version' not implemented"),
        (
            "GET", "/nodes/pve1/qemu/999/status/current", {}, 500,
            "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist",
        ),
        ("POST", "/nodes/pve1/qemu/101/status/reset", {}, 500, "VM 101 not running"),
        ("POST", VNCPROXY, {"websocket": "maybe"}, 400, "Parameter verification failed."),
        ("GET", "/nodes/pve1/qemu/1;reboot/config", {}, 400, "Parameter verification failed."),
        (
            "GET", "/nodes/nope/qemu/100/status/current", {}, 500,
            "hostname lookup 'nope' failed - failed to get address info for: nope",
        ),
    ],
)  # fmt: skip
@pytest.mark.gen_test
async def test_what_is_refused(
    cluster: SimulatedCluster, method: str, path: str, form: dict[str, str], status: int, reason: str
) -> None:
    answer = await call(cluster, method, path, form, **signed_in(cluster))
    assert (answer.status, answer.reason, answer.data) == (status, reason, None)


@pytest.mark.gen_test
async def test_every_complaint_about_parameters_at_once(cluster: SimulatedCluster) -> None:
    answer = await call(cluster, "POST", VNCPROXY, {"websocket": "maybe", "frob": "1"}, **signed_in(cluster))
    assert answer.body["errors"] == {
        "websocket": "type check ('boolean') failed - got 'maybe'",
        "frob": "property is not defined in schema and the schema does not allow additional properties",
    }


@pytest.mark.gen_test
async def test_permissions(cluster: SimulatedCluster) -> None:
    low = signed_in(cluster, "low@pve")
    listed = await call(cluster, "GET", "/cluster/resources", {"type": "vm"}, **low)
    assert [row["vmid"] for row in listed.data] == [100]
    for method, path, needed in (
        ("GET", "/nodes/pve1/qemu/101/status/current", "/vms/101, VM.Audit"),
        ("POST", "/nodes/pve1/qemu/101/status/start", "/vms/101, VM.PowerMgmt"),
        ("POST", "/nodes/pve1/qemu/101/vncproxy", "/vms/101, VM.Console"),
        ("POST", "/nodes/pve1/qemu/100/snapshot/x/rollback", "/vms/100, VM.Snapshot|VM.Snapshot.Rollback"),
        ("GET", "/access/permissions?userid=gw@pve", "/access, Sys.Audit"),
    ):
        answer = await call(cluster, method, path, {"websocket": "1"} if "vnc" in path else {}, **low)
        assert (answer.status, answer.reason) == (403, f"Permission check failed ({needed})")
    assert [row["userid"] for row in (await call(cluster, "GET", "/access/users", **low)).data] == ["low@pve"]


@pytest.mark.gen_test
async def test_a_pool_is_told_to_who_may_see_it(cluster: SimulatedCluster) -> None:
    cluster.state.vms[100].pool = "lab"
    low = signed_in(cluster, "low@pve")
    (row,) = (await call(cluster, "GET", "/cluster/resources", {"type": "vm"}, **low)).data
    assert "pool" not in row
    cluster.state.users["low@pve"].permissions["/pool/lab"] = frozenset({"Pool.Audit"})
    (row,) = (await call(cluster, "GET", "/cluster/resources", {"type": "vm"}, **low)).data
    assert row["pool"] == "lab"


@pytest.mark.gen_test
async def test_the_nearest_entry_counts(cluster: SimulatedCluster) -> None:
    low = cluster.state.users["low@pve"]
    low.permissions = {"/vms": frozenset({"VM.Audit"}), "/vms/101": frozenset({"VM.Console"})}
    assert low.may("/vms/100", "VM.Audit")
    assert not low.may("/vms/101", "VM.Audit")
    assert not low.may("/nodes/pve1", "Sys.Audit")
    low.permissions["/"] = frozenset({"Sys.Audit"})
    assert low.may("/nodes/pve1", "Sys.Audit")


@pytest.mark.gen_test
async def test_others_tasks_are_for_auditors(cluster: SimulatedCluster) -> None:
    upid = (await call(cluster, "POST", "/nodes/pve1/qemu/101/status/start", {}, **signed_in(cluster))).data
    low, where = signed_in(cluster, "low@pve"), f"/nodes/pve1/tasks/{upid}"
    assert (await call(cluster, "GET", "/nodes/pve1/tasks", **low)).data == []
    refused = await call(cluster, "GET", f"{where}/status", **low)
    assert (refused.status, refused.reason) == (403, "Permission check failed (/nodes/pve1, Sys.Audit)")
    cluster.state.users["low@pve"].permissions["/nodes"] = frozenset({"Sys.Audit"})
    assert (await call(cluster, "GET", f"{where}/log", **low)).status == 200


@pytest.mark.gen_test
async def test_a_task_is_not_waited_for(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(task_duration=0.2))
    headers = signed_in(cluster)
    upid = (await call(cluster, "POST", "/nodes/pve1/qemu/101/status/start", {}, **headers)).data
    assert upid.startswith("UPID:pve1:")
    where = f"/nodes/pve1/tasks/{upid}/status"
    assert (await call(cluster, "GET", where, **headers)).data["status"] == "running"
    while (status := (await call(cluster, "GET", where, **headers)).data)["status"] == "running":
        await asyncio.sleep(0.02)
    assert (status["exitstatus"], cluster.guests[101].running) == ("OK", True)
    upid = (await call(cluster, "POST", "/nodes/pve1/qemu/104/status/start", {}, **headers)).data
    where = f"/nodes/pve1/tasks/{upid}/status"
    while (status := (await call(cluster, "GET", where, **headers)).data)["status"] == "running":
        await asyncio.sleep(0.02)
    assert status["exitstatus"] == "VM is locked (backup)"


@pytest.mark.gen_test
async def test_a_tokens_console_opens_with_the_token_alone(cluster: SimulatedCluster) -> None:
    cluster.state.tokens["low@pve!t1"] = "right"
    data = (await call(cluster, "POST", VNCPROXY, {"websocket": "1"}, **TOKEN)).data
    assert (data["user"], type(data["port"])) == ("low@pve!t1", str)
    ticket = Ticket(100, data["port"], data["ticket"], data["password"])
    connection = await Connection.open(cluster)
    low = await connection.get(ticket.path, Cookie=cookie(cluster, "low@pve"), **UPGRADE)
    await connection.body(low[2])
    assert low[:2] == (401, "permission denied - invalid PVEVNC ticket"), "the token's, not its user's"
    await connection.close()
    connection = await Connection.open(cluster)
    assert (await connection.get(ticket.path, **TOKEN, **UPGRADE))[0] == 101
    await Viewer(connection).authenticate(ticket.password)
    await connection.close()


@pytest.mark.gen_test
async def test_a_token_with_privileges_of_its_own(cluster: SimulatedCluster) -> None:
    cluster.state.tokens["low@pve!t1"] = "right"
    cluster.state.token_permissions["low@pve!t1"] = {"/": frozenset({"VM.Audit"})}
    assert (await call(cluster, "POST", VNCPROXY, {"websocket": "1"}, **TOKEN)).status == 403
    listed = await call(cluster, "GET", "/cluster/resources", **TOKEN)
    assert [row["vmid"] for row in listed.data] == [100], "what both may"


@pytest.mark.gen_test
async def test_a_containers_screen(cluster: SimulatedCluster) -> None:
    headers = signed_in(cluster)
    data = (await call(cluster, "POST", "/nodes/pve1/lxc/300/vncproxy", {"websocket": "1"}, **headers)).data
    path = Ticket(300, data["port"], data["ticket"], "").path.replace("/qemu/", "/lxc/")
    connection = await Connection.open(cluster)
    assert (await connection.get(path, **headers, **UPGRADE))[0] == 101
    viewer = Viewer(connection)
    await viewer.authenticate(data["password"])
    viewer.request(incremental=False)
    assert await viewer.update()
    await connection.close()


@pytest.mark.gen_test
async def test_a_ticket_from_before_2026(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(hardened=False))
    headers = signed_in(cluster)
    data = (await call(cluster, "POST", VNCPROXY, {"websocket": "1"}, **headers)).data
    assert "password" not in data
    assert data["ticket"].startswith("PVEVNC:")
    asked = (await call(cluster, "POST", VNCPROXY, {"websocket": "1", "generate-password": "1"}, **headers)).data
    assert len(asked["password"]) == 8
    ticket = replace(Ticket(100, data["port"], data["ticket"], data["ticket"]))
    connection = await Connection.open(cluster)
    assert (await connection.get(ticket.path, Cookie=cookie(cluster), **UPGRADE))[0] == 101
    await Viewer(connection).authenticate(ticket.password)
    await connection.close()


@pytest.mark.gen_test
async def test_an_offline_node_hangs(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(https_offline_hang=0.3))
    headers = signed_in(cluster)
    task = asyncio.create_task(call(cluster, "GET", "/nodes/pve3/qemu/200/status/current", **headers))
    assert (await call(cluster, "GET", "/version", **headers)).status == 200
    assert not task.done()
    assert ((await task).status, (await task).reason) == (595, "Connection timed out")


@pytest.mark.gen_test
async def test_now_and_then_a_500(make_cluster: MakeCluster) -> None:
    cluster = await make_cluster(options=Options(vncproxy_stumbles=3))
    headers = signed_in(cluster)
    got = [(await call(cluster, "POST", VNCPROXY, {"websocket": "1"}, **headers)).status for _ in range(6)]
    assert got == [200, 200, 500, 200, 200, 500]
