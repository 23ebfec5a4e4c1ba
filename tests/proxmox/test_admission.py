"""The line in front of a node: fair, bounded, observable; whoever leaves it takes nothing with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import admission as module
from cyberlab.proxmox.admission import Admission, Caller


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANNOUNCE_SECONDS", 0.0)


class Node:
    """Works on a call until it is told that it is done."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def ask(
        self, label: str, who: str = "", subject: str = "", *, foreign: bool = False,
        on_position: Callable[[int], None] | None = None,
    ) -> asyncio.Task[None]:  # fmt: skip
        async def call() -> None:
            async with self.admission.turn(Caller(who, on_position), subject, foreign=foreign):
                self.begun.append(label)
                await self.gates.setdefault(label, asyncio.Event()).wait()

        return asyncio.ensure_future(call())

    async def done(self, label: str) -> None:
        self.gates.setdefault(label, asyncio.Event()).set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def code_of(task: asyncio.Task[None]) -> str:
    with pytest.raises(Problem) as caught:
        await task
    return caught.value.code


async def end(node: Node, *tasks: asyncio.Task[None]) -> None:
    while any(not task.done() for task in tasks):
        for label in node.begun:
            await node.done(label)
    await asyncio.gather(*tasks)


@pytest.mark.gen_test
async def test_users_take_turns() -> None:
    """Ten tabs of one are not before the first of another; the portal itself goes first."""
    node = Node(Admission(1))
    tasks = [node.ask("running", "anna")]
    await settle()
    tasks += [node.ask(f"anna {number}", "anna") for number in range(3)]
    tasks += [node.ask(f"ben {number}", "ben") for number in range(2)]
    tasks += [node.ask("cleo", "cleo"), node.ask("portal")]
    await end(node, *tasks)
    assert node.begun == ["running", "portal", "anna 0", "ben 0", "cleo", "anna 1", "ben 1", "anna 2"]
    assert (node.admission.working, node.admission.waiting) == (0, 0)


@pytest.mark.gen_test
async def test_everybody_knows_their_place() -> None:
    node = Node(Admission(2))
    places: dict[str, list[int]] = {name: [] for name in "abcd"}
    tasks = [node.ask("one", "x"), node.ask("two", "x")]
    await settle()
    tasks += [node.ask(name, name, on_position=places[name].append) for name in "abcd"]
    await settle()
    assert places == {"a": [1], "b": [2], "c": [3], "d": [4]}
    tasks[3].cancel()  # b's tab was closed
    await asyncio.sleep(0.01)
    assert places == {"a": [1], "b": [2], "c": [3, 2], "d": [4, 3]}
    await node.done("one")
    await asyncio.sleep(0.01)
    assert places == {"a": [1], "b": [2], "c": [3, 2, 1], "d": [4, 3, 2]}
    await end(node, *(task for task in tasks if not task.cancelled()))
    assert node.begun == ["one", "two", "a", "c", "d"]


@pytest.mark.gen_test
async def test_who_leaves_in_the_moment_of_their_turn_gives_it_on() -> None:
    node = Node(Admission(1))
    first, second, third = (node.ask(name, name) for name in "abc")
    await settle()
    node.gates["a"].set()
    while not first.done():
        await asyncio.sleep(0)
    second.cancel()
    await settle()
    assert node.begun[-1] == "c"
    await end(node, third)
    assert node.admission.working == 0


@pytest.mark.gen_test
async def test_calls_about_another_node_leave_a_place() -> None:
    """That one may hang, and they with it."""
    node = Node(Admission(3))
    tasks = [node.ask(f"far {number}", "x", "pve9", foreign=True) for number in range(5)]
    await settle()
    tasks += [node.ask("near", "y", "pve1"), node.ask("other", "y", "pve8", foreign=True)]
    await settle()
    assert node.begun == ["far 0", "far 1", "near"]
    await end(node, *tasks)


@pytest.mark.gen_test
async def test_a_node_that_has_just_come_back_is_loaded_slowly() -> None:
    node = Node(Admission(4))
    node.admission.begin_slowly()
    tasks = [node.ask(str(number), str(number)) for number in range(8)]
    most = []
    for number in range(8):
        await settle()
        most.append(node.admission.working)
        await node.done(str(number))
    assert most[:4] == [1, 2, 3, 4]
    assert max(most) == 4
    await end(node, *tasks)


@pytest.mark.gen_test
async def test_a_call_that_fails_is_no_sign_of_health() -> None:
    admission = Admission(4)
    admission.begin_slowly()
    with pytest.raises(ZeroDivisionError):
        async with admission.turn(Caller(), ""):
            raise ZeroDivisionError
    node = Node(admission)
    tasks = [node.ask(str(number)) for number in range(3)]
    await settle()
    assert admission.working == 1
    await end(node, *tasks)


@pytest.mark.gen_test
async def test_the_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    node = Node(Admission(1))
    first = node.ask("first")
    await settle()
    waiting = [node.ask("a", "a"), node.ask("b", "b")]
    await settle()
    assert await code_of(node.ask("c", "c")) == problems.SSH_BUSY
    for task in waiting:
        assert await code_of(task) == problems.SSH_BUSY
    assert node.admission.waiting == 0
    await end(node, first)


@pytest.mark.gen_test
async def test_closed() -> None:
    node = Node(Admission(1))
    first = node.ask("first")
    await settle()
    waiting = node.ask("a", "a")
    await settle()
    node.admission.close()
    assert await code_of(waiting) == problems.SHUTTING_DOWN
    assert await code_of(node.ask("b")) == problems.SHUTTING_DOWN
    await end(node, first)
