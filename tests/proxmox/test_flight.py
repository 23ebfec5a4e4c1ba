"""One call for any number of waiters."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import flight
from cyberlab.proxmox.flight import Flight, Kept


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


@pytest.mark.gen_test
async def test_an_answer_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(flight, "time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = []

    async def fetch() -> int:
        await asyncio.sleep(0)
        asked.append(1)
        if len(asked) == 3:
            raise Problem(problems.PVESH_TIMEOUT)
        return len(asked)

    kept = Kept(fetch, 30.0)
    assert await asyncio.gather(kept.get(), kept.get()) == [1, 1]
    now[0] += 30.0
    assert await kept.get() == 1
    now[0] += 1.0
    assert await kept.get() == 2
    now[0] += 31.0
    with pytest.raises(Problem):
        await kept.get()
    assert await kept.get() == 4, "a failure is not kept"
    kept.close()


@pytest.mark.gen_test
async def test_a_call_that_has_just_ended_is_not_joined() -> None:
    """Its end is noticed a turn of the loop later; who asks within that turn, and again, would ask for ever."""
    flight: Flight[int] = Flight()
    answers = iter(range(1, 10))

    async def call() -> int:
        return next(answers)

    first = asyncio.create_task(flight.join(call))
    await asyncio.sleep(0)  # the first caller has begun the call
    await asyncio.sleep(0)  # the call has ended, and nobody has been told
    assert await flight.join(call) == 2
    assert await first == 1
