"""Pvesh over a real sshd, whose pvesh answers from the transcripts and writes down its arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.answers import POWER, Resource, TaskStatus, Upid, VmStatus, power_path
from cyberlab.proxmox.pvesh import Pvesh
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.warm import WarmPvesh
from tests.proxmox.calls import until
from tests.proxmox.replay import RECORDED
from tests.sshd import Sshd

TRANSCRIPTS: list[dict[str, Any]] = json.loads(RECORDED.read_text())
FAILED_START = "UPID:pve1:00000984:00052FF2:6B02E098:qmstart:104:root@pam:"
HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned;", "| touch pwned", "&& touch pwned", "> pwned",
    "a\ntouch pwned\n", "it's", 'say "hi"', "\\", "\\'", "'; touch pwned; '", "$HOME", "*", "~", "#", "!!", "", " ",
    "\t", "\r\n", "--force", "-rf", "--", "=", "a=b", "%00", "ü€𝄞", "\x01\x7f", "\u2028",
]  # fmt: skip


@pytest.fixture
def pvesh(pool: SshPool) -> Pvesh:
    return Pvesh(pool, WarmPvesh(pool, 0), timeout=10.0)


def argvs(sshd: Sshd) -> list[list[str]]:
    return [json.loads(line) for line in (sshd.folder / "pvesh.log").read_text().splitlines()]


# Of QEMU's run states (qapi/run-state.json), those of a process that is there and executes nothing.
NOT_GOING_ON = ("paused", "suspended", "prelaunch", "io-error", "internal-error", "guest-panicked", "shutdown")


@pytest.mark.gen_test
async def test_hostile_values_arrive_and_run_nothing(pvesh: Pvesh, sshd: Sshd) -> None:
    parameters = {f"p{number}": value for number, value in enumerate(HOSTILE)}
    with pytest.raises(Problem):
        await pvesh.call("create", "/nodes/$(touch pwned)/`touch pwned`;'", parameters)
    assert argvs(sshd) == [
        ["create", "/nodes/$(touch pwned)/`touch pwned`;'"]
        + [f"--p{number}={value}" for number, value in enumerate(HOSTILE)]
        + ["--output-format", "json"]
    ]
    assert not (sshd.folder / "pwned").exists()


@pytest.mark.gen_test
async def test_resources(pvesh: Pvesh) -> None:
    found = {resource.vmid: resource for resource in await pvesh.resources()}
    assert found[100] == Resource(100, "qemu", "pve1", "running", name="demo", tags=("prod", "web"))
    assert found[104].lock == "backup"


@pytest.mark.gen_test
async def test_a_sparse_inventory(pvesh: Pvesh, sshd: Sshd) -> None:
    """A node that is offline leaves no name; what is no guest, or of no known kind, is left out.

    A machine's status is QEMU's own word where pvestatd has one; tags are as somebody typed them.
    """
    rows = [
        {"id": "qemu/200", "node": "pve3", "status": "unknown", "type": "qemu", "vmid": 200},
        {"vmid": "201", "type": "lxc", "node": "pve1", "status": "stopped", "template": 1, "name": None, "tags": ""},
        {"vmid": 202, "type": "qemu"},
        *({"vmid": 300 + number, "type": "qemu", "status": status} for number, status in enumerate(NOT_GOING_ON)),
        {"vmid": 400, "type": "qemu", "node": "pve1", "status": "running", "tags": "a;b,c d"},
        {"type": "node", "node": "pve1"}, {"type": "qemu"}, {"type": "future", "vmid": 5}, "text", None,
    ]  # fmt: skip
    call = ["get", "/cluster/resources", "--type", "vm", "--output-format", "json"]
    transcript = {"pvesh": call, "exit": 0, "stdout": json.dumps(rows), "stderr": "WARN: old\n"}
    (sshd.folder / "answers.json").write_text(json.dumps([transcript]))
    assert await pvesh.resources() == [
        Resource(200, "qemu", "pve3", "unknown"),
        Resource(201, "lxc", "pve1", "stopped", template=True),
        Resource(202, "qemu", "", "unknown"),
        *(Resource(300 + number, "qemu", "", "paused") for number in range(len(NOT_GOING_ON))),
        Resource(400, "qemu", "pve1", "running", tags=("a", "b", "c", "d")),
    ]


@pytest.mark.gen_test
async def test_status(pvesh: Pvesh) -> None:
    assert await pvesh.status("pve1", "qemu", 100) == VmStatus("running", "running", name="demo")
    assert (await pvesh.status("pve1", "qemu", 104)).lock == "backup"
    for node, vmid, code in (("pve1", 999, problems.VM_GONE), ("nope", 100, problems.NODE_OFFLINE)):
        with pytest.raises(Problem) as caught:
            await pvesh.status(node, "qemu", vmid)
        assert caught.value.code == code


@pytest.mark.gen_test
async def test_vncproxy(pvesh: Pvesh, sshd: Sshd) -> None:
    ticket = await pvesh.vncproxy("pve1", "qemu", 100)
    assert (ticket.node_host, ticket.user) == ("pve1", "root@pam")
    assert 5900 <= ticket.port <= 5999
    assert len(ticket.password) == 8
    assert ticket.ticket.startswith(f"{ticket.password}:PVEVNC:")
    assert ticket.certificate.startswith("-----BEGIN CERTIFICATE-----")
    assert argvs(sshd)[0] == ["create", "/nodes/pve1/qemu/100/vncproxy", "--websocket=1", "--output-format", "json"]


@pytest.mark.gen_test
async def test_a_container_is_not_even_asked(pvesh: Pvesh, sshd: Sshd) -> None:
    """Its vncproxy blocks pvesh for 26 seconds and then fails."""
    with pytest.raises(Problem) as caught:
        await pvesh.vncproxy("pve1", "lxc", 300)
    assert caught.value.code == problems.VM_KIND_UNSUPPORTED
    assert not (sshd.folder / "pvesh.log").exists()


@pytest.mark.parametrize(("kind", "vmid"), [("lxc", 300), ("qemu", 102)])
@pytest.mark.gen_test
async def test_termproxy(pvesh: Pvesh, sshd: Sshd, kind: str, vmid: int) -> None:
    ticket = await pvesh.termproxy("pve1", kind, vmid)
    assert (ticket.node_host, ticket.user, ticket.password, ticket.certificate) == ("pve1", "root@pam", "", "")
    assert 5900 <= ticket.port <= 5999
    assert ticket.ticket.startswith("PVEVNC:")
    assert argvs(sshd)[0] == ["create", f"/nodes/pve1/{kind}/{vmid}/termproxy", "--output-format", "json"]


@pytest.mark.gen_test
async def test_a_task_that_failed_exits_with_zero(pvesh: Pvesh) -> None:
    upid = Upid.parse(await pvesh.call("create", "/nodes/pve1/qemu/104/status/start"))
    assert upid == Upid(FAILED_START, "pve1")
    assert await pvesh.task_status(upid) == TaskStatus(False, "VM is locked (backup)")


@pytest.mark.gen_test
async def test_detached(pvesh: Pvesh, sshd: Sshd) -> None:
    """The command goes on when its channel has closed, and nobody has asked what became of it."""
    await pvesh.detach("/nodes/pve1/qemu/101/status/stop", {"timeout": "5"}, subject="pve1")
    await until(lambda: (sshd.folder / "pvesh.log").exists() and argvs(sshd))
    assert argvs(sshd) == [
        ["create", "/nodes/pve1/qemu/101/status/stop", "--timeout=5", "--output-format", "json"]
    ]  # fmt: skip
    assert "delete" not in POWER
    with pytest.raises(ValueError, match="delete"):
        power_path("pve1", "qemu", 101, "delete")


@pytest.mark.gen_test
async def test_nodes(pvesh: Pvesh) -> None:
    assert await pvesh.nodes() == {"pve1": "unknown"}


@pytest.mark.gen_test
async def test_certificates(pvesh: Pvesh, sshd: Sshd) -> None:
    """Of 'localhost', a node tells the CA alone."""
    recorded = next(one for one in TRANSCRIPTS if one["pvesh"][1] == "/nodes/pve1/certificates/info")
    call = ["get", "/nodes/localhost/certificates/info", "--output-format", "json"]
    both = json.loads(recorded["stdout"])
    for rows, node in ((both, "pve1"), (both[:1], "")):
        transcript = {"pvesh": call, "exit": 0, "stdout": json.dumps(rows), "stderr": ""}
        (sshd.folder / "answers.json").write_text(json.dumps([transcript]))
        got = await pvesh.certificates()
        assert got.ca.startswith("-----BEGIN CERTIFICATE-----")
        assert got.node == node


@pytest.mark.gen_test
async def test_answers_of_the_wrong_shape(pvesh: Pvesh, sshd: Sshd) -> None:
    calls = {
        "/version": pvesh.version,
        "/nodes": pvesh.nodes,
        "/nodes/pve1/qemu/100/status/current": lambda: pvesh.status("pve1", "qemu", 100),
    }
    for stdout in ("", "null\n", "5\n", '"text"\n'):
        answers = [
            {"pvesh": ["get", path, "--output-format", "json"], "exit": 0, "stdout": stdout, "stderr": ""}
            for path in calls
        ]
        (sshd.folder / "answers.json").write_text(json.dumps(answers))
        for call in calls.values():
            with pytest.raises(Problem) as caught:
                await call()
            assert caught.value.code == problems.PVESH_FAILED
