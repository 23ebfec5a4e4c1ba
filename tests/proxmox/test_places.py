"""Who may go next."""

from __future__ import annotations

import asyncio
import time

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.places import Places


def soon() -> float:
    return time.monotonic() + 5.0


async def waiting(places: Places, subject: str, share: int = 1) -> asyncio.Task[None]:
    task = asyncio.ensure_future(places.take(subject, share, soon()))
    await asyncio.sleep(0)
    return task


@pytest.mark.gen_test
async def test_one_subject_gets_its_share_and_no_more() -> None:
    places = Places(4, 10)
    await places.take("a", 2, soon())
    await places.take("a", 2, soon())
    third = await waiting(places, "a", 2)
    await places.take("b", 2, soon())
    await places.take("", 4, soon())
    assert not third.done()
    places.free("")
    await asyncio.sleep(0)
    assert not third.done(), "a place is free, but not for this one"
    places.free("a")
    await third


@pytest.mark.gen_test
async def test_calls_about_no_node_may_take_all() -> None:
    places = Places(3, 10)
    for _ in range(3):
        await places.take("", 3, soon())
    fourth = await waiting(places, "", 3)
    assert not fourth.done()
    places.free("")
    await fourth


@pytest.mark.gen_test
async def test_first_come_first_served_among_those_who_fit() -> None:
    places = Places(2, 10)
    await places.take("a", 1, soon())
    await places.take("b", 1, soon())
    queue = [await waiting(places, subject) for subject in ("a", "c", "d")]
    places.free("b")
    await queue[1]
    assert [task.done() for task in queue] == [False, True, False]
    places.free("a")
    await queue[0]
    places.free("c")
    await queue[2]


@pytest.mark.gen_test
async def test_patience_ends() -> None:
    places = Places(1, 10)
    await places.take("a", 1, soon())
    with pytest.raises(Problem) as caught:
        await places.take("b", 1, time.monotonic() + 0.02)
    assert caught.value.code == problems.SSH_BUSY
    with pytest.raises(Problem):
        await places.take("b", 1, time.monotonic() - 1.0)
    places.free("a")
    await places.take("c", 1, soon())


@pytest.mark.gen_test
async def test_the_queue_has_an_end() -> None:
    places = Places(1, 1)
    await places.take("a", 1, soon())
    second = await waiting(places, "a")
    with pytest.raises(Problem) as caught:
        await places.take("a", 1, soon())
    assert caught.value.code == problems.SSH_BUSY
    places.free("a")
    await second


@pytest.mark.gen_test
async def test_whoever_goes_away_leaves_no_hole() -> None:
    """Also when the turn comes in the very moment in which the waiter is cancelled."""
    places = Places(1, 10)
    await places.take("a", 1, soon())
    gone, there = await waiting(places, "a"), await waiting(places, "a")
    gone.cancel()
    await asyncio.wait([gone])
    places.free("a")
    await there
    late, last = await waiting(places, "a"), await waiting(places, "a")
    places.free("a")  # late's turn has come
    late.cancel()
    await asyncio.wait([late])
    assert late.cancelled()
    await last


@pytest.mark.gen_test
async def test_close_sends_everybody_home() -> None:
    places = Places(1, 10)
    await places.take("a", 1, soon())
    second = await waiting(places, "a")
    places.close()
    for call in (second, asyncio.ensure_future(places.take("b", 1, soon()))):
        with pytest.raises(Problem) as caught:
            await call
        assert caught.value.code == problems.SHUTTING_DOWN


@pytest.mark.gen_test
async def test_shares_may_differ() -> None:
    places = Places(8, 10)
    await places.take("slow", 2, soon())
    await places.take("slow", 2, soon())
    third = await waiting(places, "slow", 2)
    for _ in range(4):
        await places.take("quick", 4, soon())
    assert not third.done()
    places.free("slow")
    await third
