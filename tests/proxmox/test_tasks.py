"""Tasks begun without a channel that waits: found in the list, watched by one call for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import tasks as module
from cyberlab.proxmox.answers import ConsoleTicket, Task, TaskStatus, Upid
from cyberlab.proxmox.calls import Api
from cyberlab.proxmox.tasks import Tasks

RUNNING = TaskStatus(True)


def upid(number: int, vmid: int = 100, kind: str = "qmstart", node: str = "pve1") -> Upid:
    return Upid(f"UPID:{node}:{number:08X}:00053052:6B02E099:{kind}:{vmid}:root@pam:", node)


def task(number: int, vmid: int = 100, kind: str = "qmstart", status: TaskStatus = RUNNING) -> Task:
    return Task(upid(number, vmid, kind), kind, str(vmid), status)


class Node(Api):
    """A node whose detached commands make tasks, or do not."""

    def __init__(self) -> None:
        self.listed: list[Task] = []
        self.makes: Iterable[Task] = ()
        self.trouble: list[Problem] = []
        self.looks = 0
        self.asked: list[str] = []
        self.at_once = 0
        self.most = 0

    async def call(self, *args: Any, **more: Any) -> Any:
        raise AssertionError(args)

    async def vncproxy(self, node: str, kind: str, vmid: int) -> ConsoleTicket:
        raise AssertionError(node)

    async def probe(self) -> None:
        raise AssertionError

    async def tasks(self, node: str, *, timeout: float | None = None) -> list[Task]:
        self.looks += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.trouble:
            raise self.trouble.pop(0)
        return list(self.listed)

    async def task_status(self, upid: Upid) -> TaskStatus:
        self.asked.append(upid.text)
        return TaskStatus(False, "OK")

    async def detach(self, path: str, parameters: dict[str, str], *, subject: str) -> Upid | None:
        self.listed = [*self.makes, *self.listed]
        return None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(module, "_LAST_PAUSE", 0.001)


async def code_of(call: Any) -> str:
    with pytest.raises(Problem) as caught:
        await call
    return caught.value.code


@pytest.mark.gen_test
async def test_the_task_is_what_was_not_there_before() -> None:
    node = Node()
    tasks = Tasks(node)
    node.listed = [task(1, status=TaskStatus(False, "OK"))]
    node.makes = [task(2, vmid=101), task(3, kind="qmstop"), task(4)]
    assert await tasks.begin("pve1", 100, ("qmstart",), "/x", {}) == upid(4)


@pytest.mark.gen_test
async def test_none_is_found_twice() -> None:
    """One person's click makes two tasks at once: each of the next clicks gets one."""
    node = Node()
    tasks = Tasks(node)
    node.makes = [task(4)]
    first = await tasks.begin("pve1", 100, ("qmstart",), "/x", {})
    node.makes = [task(5)]
    assert await tasks.begin("pve1", 100, ("qmstart",), "/x", {}) == upid(5) != first


@pytest.mark.gen_test
async def test_no_task_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEEN_SECONDS", 0.05)
    node = Node()
    assert await code_of(Tasks(node).begin("pve1", 100, ("qmstart",), "/x", {})) == problems.TASK_UNSEEN
    assert node.looks > 2


@pytest.mark.gen_test
async def test_one_look_for_a_class() -> None:
    node = Node()
    tasks = Tasks(node)
    node.listed = [task(number, vmid=number) for number in range(100, 130)]
    found = await asyncio.gather(*(tasks.status(upid(number, number)) for number in range(100, 130)))
    assert all(status.running for status in found)
    assert node.looks == 1
    assert node.most == 1


@pytest.mark.gen_test
async def test_a_list_from_before_is_not_enough() -> None:
    node = Node()
    tasks = Tasks(node)
    node.listed = [task(1)]
    early = asyncio.ensure_future(tasks.status(upid(1)))
    await asyncio.sleep(0)
    node.listed = [task(1, status=TaskStatus(False, "OK"))]
    assert (await tasks.status(upid(1))).ok
    await early


@pytest.mark.gen_test
async def test_a_task_is_watched_through_trouble_on_the_way() -> None:
    node = Node()
    tasks = Tasks(node)
    node.listed = [task(1)]
    shown: list[TaskStatus] = []

    def progress(status: TaskStatus) -> None:
        shown.append(status)
        if len(shown) == 1:
            node.trouble = [Problem(problems.SSH_REFUSED), Problem(problems.PVESH_TIMEOUT)]
        else:
            node.listed = [task(1, status=TaskStatus(False, "VM is locked (backup)"))]

    ended = await tasks.wait(upid(1), 5.0, progress)
    assert ended.exit_status == "VM is locked (backup)"
    assert shown[0].running
    assert shown[-1] == ended
    node.trouble = [Problem(problems.VM_GONE)]
    assert await code_of(tasks.wait(upid(1), 5.0, None)) == problems.VM_GONE


@pytest.mark.gen_test
async def test_the_end_of_patience() -> None:
    node = Node()
    tasks = Tasks(node)
    node.listed = [task(1)]
    assert await code_of(tasks.wait(upid(1), 0.01, None)) == problems.PVESH_TIMEOUT


@pytest.mark.gen_test
async def test_what_has_left_the_list_is_asked_for_itself() -> None:
    node = Node()
    assert (await Tasks(node).wait(upid(7), 5.0, None)).ok
    assert node.asked == [upid(7).text]


@pytest.mark.parametrize("noted", ["unexpected status", "unable to read tail (got 0 bytes)"])
@pytest.mark.gen_test
async def test_an_end_that_was_noted_too_early_is_looked_at_itself(noted: str) -> None:
    """Somebody else's task began between the end of this one's worker and the last line of its log."""
    node = Node()
    node.listed = [task(1, status=TaskStatus(False, noted)), task(2, status=TaskStatus(False, "VM is locked (backup)"))]
    assert (await Tasks(node).wait(upid(1), 5.0, None)).ok
    assert not (await Tasks(node).wait(upid(2), 5.0, None)).ok
    assert node.asked == [upid(1).text]


@pytest.mark.gen_test
async def test_closed() -> None:
    tasks = Tasks(Node())
    tasks.close()
    assert await code_of(tasks.status(upid(1))) == problems.SHUTTING_DOWN
