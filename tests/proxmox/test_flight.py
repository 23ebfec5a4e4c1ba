"""One call for any number of waiters."""

from __future__ import annotations

import asyncio

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.flight import Flight


class Call:
    """A call that lands when told to."""

    def __init__(self) -> None:
        self.made = 0
        self.land = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.made += 1
        number = self.made
        await self.land.wait()
        if self.error is not None:
            raise self.error
        return number


async def joined(flight: Flight[int], call: Call, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.ensure_future(flight.join(call)) for _ in range(count)]
    for _ in range(3):  # the waiters begin, then the call
        await asyncio.sleep(0)
    return tasks


@pytest.mark.gen_test
async def test_all_get_the_answer_of_one_call() -> None:
    flight, call = Flight[int](), Call()
    tasks = await joined(flight, call, 50)
    call.land.set()
    assert set(await asyncio.gather(*tasks)) == {1}
    assert await flight.join(call) == 2, "a new call after the landing"


@pytest.mark.gen_test
async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    flight, call = Flight[int](), Call()
    first, second = await joined(flight, call, 2)
    first.cancel()
    await asyncio.wait([first])
    call.land.set()
    assert await second == 1
    assert first.cancelled()


@pytest.mark.gen_test
async def test_a_failure_is_everybodys_and_not_kept() -> None:
    flight, call = Flight[int](), Call()
    tasks = await joined(flight, call, 3)
    call.error = Problem(problems.PVESH_FAILED)
    call.land.set()
    for task in tasks:
        with pytest.raises(Problem):
            await task
    call.error = None
    assert await flight.join(call) == 2


@pytest.mark.gen_test
async def test_close() -> None:
    flight, call = Flight[int](), Call()
    tasks = await joined(flight, call, 2)
    flight.close()
    for task in (*tasks, asyncio.ensure_future(flight.join(call))):
        with pytest.raises(Problem) as caught:
            await task
        assert caught.value.code == problems.SHUTTING_DOWN
    assert call.made == 1
