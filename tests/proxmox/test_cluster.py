"""The cluster's face: what it makes of pvesh's answers, over a real sshd."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import access, tasks
from cyberlab.proxmox import cluster as module
from cyberlab.proxmox.answers import ConsoleTicket, Upid
from cyberlab.proxmox.cluster import Cluster
from cyberlab.proxmox.passes import Pass
from tests.proxmox.authority import Authority
from tests.sshd import Sshd

UPID = "UPID:pve1:00000989:00053052:6B02E099:qmstart:{}:root@pam:"


class Node:
    """What pvesh answers, changed at will."""

    def __init__(self, sshd: Sshd) -> None:
        self._sshd = sshd
        self._answers: dict[tuple[str, ...], dict[str, Any]] = {}

    def answer(
        self, verb: str, path: str, value: Any = None, *, stderr: str = "", exit: int = 0, **options: str
    ) -> None:
        words = [verb, path, *(f"--{name}={value}" for name, value in options.items()), "--output-format", "json"]
        stdout = "" if exit else json.dumps(value) + "\n"
        self._answers[tuple(words)] = {"pvesh": words, "exit": exit, "stdout": stdout, "stderr": stderr}
        scratch = self._sshd.folder / "answers.new"
        scratch.write_text(json.dumps(list(self._answers.values())))
        scratch.replace(self._sshd.folder / "answers.json")

    def inventory(self, *rows: dict[str, Any]) -> None:
        self.answer("get", "/cluster/resources", list(rows), type="vm")

    def status(self, vmid: int, status: str, node: str = "pve1", **more: Any) -> None:
        self.answer("get", f"/nodes/{node}/qemu/{vmid}/status/current", {"status": status, "vmid": vmid, **more})

    def calls(self, path: str = "") -> int:
        log = self._sshd.folder / "pvesh.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return sum(path in line for line in lines)


def guest(vmid: int, status: str = "running", node: str = "pve1", kind: str = "qemu") -> dict[str, Any]:
    return {"vmid": vmid, "type": kind, "node": node, "status": status, "name": f"vm{vmid}"}


@pytest.fixture
def node(sshd: Sshd) -> Node:
    return Node(sshd)


@pytest.fixture
def make_cluster(io_loop: IOLoop, sshd: Sshd) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(**changes: object) -> Cluster:
        made.append(Cluster(sshd.cluster_settings(**changes)))
        return made[-1]

    async def close() -> None:
        for cluster in made:
            cluster.close()

    yield make
    io_loop.run_sync(close)


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster()


async def explained(cluster: Cluster, vmid: int, kind: str = "qemu") -> str | None:
    problem = await cluster.explain("pve1", kind, vmid)
    return problem and problem.code


@pytest.mark.gen_test
async def test_one_inventory_for_a_whole_class(cluster: Cluster, node: Node) -> None:
    found = await asyncio.gather(*(cluster.resources(60.0) for _ in range(50)))
    assert node.calls("/cluster/resources") == 1
    assert found[0].resources[101].status == "stopped"
    assert cluster.last_inventory is found[0]


@pytest.mark.gen_test
async def test_one_cookie_for_a_whole_class(cluster: Cluster, sshd: Sshd) -> None:
    cookies = await asyncio.gather(*(cluster.auth_cookie() for _ in range(50)))
    assert set(cookies) == {"PVE:root@pam:6B02E097::signature1"}
    cluster.forget_cookie(cookies[0])
    assert await cluster.auth_cookie() == "PVE:root@pam:6B02E097::signature2"
    cluster.forget_cookie(cookies[0])
    assert await cluster.auth_cookie() == "PVE:root@pam:6B02E097::signature2"


@pytest.mark.gen_test
async def test_why_a_console_failed(cluster: Cluster, node: Node) -> None:
    node.inventory(
        guest(100), guest(101), guest(102), guest(104), guest(200, "unknown", "pve3"), guest(300, kind="lxc")
    )
    node.status(100, "running")
    node.status(101, "stopped")
    node.status(102, "running", lock="backup")
    node.status(104, "stopped", lock="backup")
    assert await explained(cluster, 100) is None
    assert await explained(cluster, 101) == problems.VM_STOPPED, "the inventory is seconds behind"
    assert await explained(cluster, 102) is None, "a backup of a running machine bothers nobody"
    assert await explained(cluster, 104) == problems.VM_LOCKED
    assert await explained(cluster, 200) == problems.NODE_OFFLINE
    assert await explained(cluster, 300) == problems.VM_GONE
    assert await explained(cluster, 999) == problems.VM_GONE


@pytest.mark.gen_test
async def test_a_machine_that_is_new_is_unknown_as_well(cluster: Cluster, node: Node) -> None:
    """Nobody has measured it yet; its node is there, and tells."""
    node.inventory(guest(100, "unknown"), guest(101, "unknown"), guest(200, "unknown", "pve3"))
    node.answer("get", "/nodes", [{"node": "pve1", "status": "online"}, {"node": "pve3", "status": "offline"}])
    node.status(100, "running")
    node.status(101, "stopped")
    assert await explained(cluster, 100) is None
    assert await explained(cluster, 101) == problems.VM_STOPPED
    assert await explained(cluster, 200) == problems.NODE_OFFLINE
    assert node.calls("/nodes/pve3") == 0, "that would hang"


@pytest.mark.gen_test
async def test_a_machine_that_has_moved(cluster: Cluster, node: Node) -> None:
    node.inventory(guest(100, node="pve2"))
    node.status(100, "stopped", node="pve2")
    assert await cluster.locate("qemu", 100) == "pve2"
    assert await cluster.locate("lxc", 100) is None
    assert await cluster.locate("qemu", 5) is None
    assert await explained(cluster, 100) == problems.VM_STOPPED, "asked of the node that it is on now"


@pytest.mark.gen_test
async def test_a_machine_that_went_between_two_questions(cluster: Cluster, node: Node) -> None:
    node.inventory(guest(999))
    assert await explained(cluster, 999) == problems.VM_GONE


@pytest.mark.gen_test
async def test_a_cluster_that_cannot_be_asked_is_no_cause(cluster: Cluster, node: Node) -> None:
    node.inventory(guest(100))
    node.answer("get", "/nodes/pve1/qemu/100/status/current", stderr="got no worker upid - start failed\n", exit=255)
    with pytest.raises(Problem) as caught:
        await cluster.explain("pve1", "qemu", 100)
    assert caught.value.code == problems.PVESH_FAILED


@pytest.mark.gen_test
async def test_a_node_that_hangs_counts_as_offline(
    cluster: Cluster, node: Node, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.inventory(guest(100))
    await cluster.resources(0.0)
    real = (sshd.folder / "bin" / "pvesh").rename(sshd.folder / "bin" / "pvesh.real")
    script = f'#!/bin/sh\ncase "$2" in */status/current) exec sleep 5;; *) exec {real} "$@";; esac\n'
    (sshd.folder / "bin" / "pvesh").write_text(script)
    (sshd.folder / "bin" / "pvesh").chmod(0o755)
    monkeypatch.setattr(module, "_STATUS_SECONDS", 0.3)
    assert await explained(cluster, 100) == problems.NODE_OFFLINE


@pytest.mark.gen_test
async def test_no_answer_is_a_problem_and_leaves_the_last_inventory(
    cluster: Cluster, node: Node, sshd: Sshd
) -> None:  # fmt: skip
    node.inventory(guest(100))
    good = await cluster.resources(0.0)
    node.answer("get", "/cluster/resources", stderr="cluster not ready - no quorum?\n", exit=2, type="vm")
    with pytest.raises(Problem) as caught:
        await cluster.resources(0.0)
    assert caught.value.code == problems.NODE_OFFLINE
    assert cluster.last_inventory is good


@pytest.mark.gen_test
async def test_an_end_is_good_or_a_problem(cluster: Cluster, node: Node) -> None:
    node.answer("get", "/nodes/pve1/tasks", [], source="all", limit="500")
    for action in ("start", "stop", "reset"):
        upid = Upid(UPID.format(105).replace("qmstart", f"qm{action}"), "pve1")
        for end, code in (
            ("OK", None), ("WARNINGS: 1", None), ("VM 105 not running", problems.VM_STOPPED),
            ("VM is locked (backup)", problems.VM_LOCKED),
            ("VM 105 already running", None if action == "start" else problems.PVESH_FAILED),  # somebody was quicker
        ):  # fmt: skip
            node.answer("get", f"/nodes/pve1/tasks/{upid.text}/status", {"status": "stopped", "exitstatus": end})
            if code is None:
                assert (await cluster.finish(upid, 20.0)).exit_status == end
                continue
            with pytest.raises(Problem) as caught:
                await cluster.finish(upid, 20.0)
            assert caught.value.code == code, (action, end)
            assert end in caught.value.detail


@pytest.mark.gen_test
async def test_a_task_is_waited_for(cluster: Cluster, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_LAST_PAUSE", 0.0)
    node.answer("get", "/nodes/pve1/tasks", [], source="all", limit="500")
    upid = Upid(UPID.format(105), "pve1")
    path = f"/nodes/pve1/tasks/{upid.text}/status"
    node.answer("get", path, {"status": "running"})
    waiting = asyncio.ensure_future(cluster.wait_task(upid, 20.0))
    while node.calls("/tasks/") < 3:
        await asyncio.sleep(0.01)
    assert not waiting.done()
    node.answer("get", path, {"status": "stopped", "exitstatus": "OK"})
    assert (await waiting).ok
    node.answer("get", path, {"status": "running"})
    with pytest.raises(Problem) as caught:
        await cluster.wait_task(upid, 0.0)
    assert caught.value.code == problems.PVESH_TIMEOUT
    assert (await cluster.task_status(upid)).running


def ticket(**changes: Any) -> ConsoleTicket:
    values = {"node_host": "pve1", "port": 5907, "ticket": "x", "password": "y", "user": "root@pam", "certificate": ""}
    return ConsoleTicket(**(values | changes))


@pytest.mark.gen_test
async def test_trust_comes_with_the_ticket_and_is_made_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_TRUSTS", 4)
    made = []
    real = access.tls.trust_of
    monkeypatch.setattr(access.tls, "trust_of", lambda *args: made.append(args) or real(*args))
    old, new = Authority().pem, Authority().pem
    trusts = await asyncio.gather(*(cluster.tls(ticket(certificate=old)) for _ in range(20)))
    assert len(made) == 1
    assert all(trust is trusts[0] for trust in trusts)
    assert trusts[0].server_names == ("127.0.0.1", "pve1")
    renewed = await cluster.tls(ticket(certificate=new))
    assert renewed is not trusts[0], "the CA was renewed"
    assert (await cluster.tls(ticket(certificate=new, node_host="pve2"))).server_names == ("127.0.0.1", "pve2")
    for number in range(2 * access._TRUSTS):
        await cluster.tls(ticket(certificate=new, node_host=f"n{number}"))
    assert len(cluster._access.trusts._known) <= access._TRUSTS


@pytest.mark.gen_test
async def test_sign_in_by_password_trusts_what_came_over_ssh(
    make_cluster: Callable[..., Cluster], node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    ca = {"filename": "pve-root-ca.pem", "pem": authority.pem}
    node.answer("get", "/nodes/localhost/certificates/info", [ca])
    node.answer("get", "/nodes", [{"node": "pve1", "status": "online"}, {"node": "pve2", "status": "offline"}])
    asked = []

    async def sign_in(web: object, trust: Any, user: str, secret: str) -> Pass:
        assert (user, secret) == ("root@pam", "secret")
        asked.append(trust)
        return Pass.of_cookie(user, "PVE:cookie")

    monkeypatch.setattr(access, "sign_in", sign_in)
    assert await make_cluster(password="secret").auth_cookie() == "PVE:cookie"
    assert asked[0].server_names == ("127.0.0.1", "pve1", "pve2")
    assert node.calls() == 2
    pinned = make_cluster(password="secret", tls_fingerprint="ab" * 32)
    assert await pinned.auth_cookie() == "PVE:cookie"
    assert asked[1].fingerprint == "ab" * 32
    assert node.calls() == 2, "a pin needs no CA"


@pytest.mark.gen_test
async def test_close_ends_what_is_in_flight(cluster: Cluster, sshd: Sshd) -> None:
    (sshd.folder / "bin" / "pvesh").write_text("#!/bin/sh\ntouch begun\nexec sleep 5\n")
    waiting = [asyncio.ensure_future(cluster.resources(0.0)), asyncio.ensure_future(cluster.version())]
    while not (sshd.folder / "begun").exists():
        await asyncio.sleep(0.01)
    cluster.close()
    for call in waiting:
        with pytest.raises(Problem) as caught:
            await call
        assert caught.value.code == problems.SHUTTING_DOWN
