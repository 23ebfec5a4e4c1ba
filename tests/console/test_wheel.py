"""One timer for all consoles."""

from __future__ import annotations

import asyncio

import pytest

from cyberlab.console.wheel import Wheel


class Looks:
    """A member that counts its looks."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.again = asyncio.Event()

    def __call__(self, now: float) -> None:
        self.seen.append(now)
        self.again.set()

    async def wait(self, times: int) -> None:
        while len(self.seen) < times:
            self.again.clear()
            await self.again.wait()


@pytest.mark.gen_test
async def test_every_member_is_looked_at_once_a_turn() -> None:
    wheel = Wheel(0.06, spokes=3)
    early, late = Looks(), Looks()
    wheel.add(early)
    await early.wait(1)
    wheel.add(late)
    began = asyncio.get_running_loop().time()
    await late.wait(2)
    assert late.seen[0] - began > 0.05, "the first look is a whole turn later"
    assert abs(len(early.seen) - len(late.seen)) <= 2
    wheel.close()


@pytest.mark.gen_test
async def test_without_members_there_is_no_timer() -> None:
    wheel = Wheel(0.03, spokes=3)
    assert wheel._timer is None
    looks = Looks()
    forget = wheel.add(looks)
    await looks.wait(1)
    forget()
    forget()  # once is enough
    while wheel._timer is not None:
        await asyncio.sleep(0)
    seen = len(looks.seen)
    again = Looks()
    forget = wheel.add(again)
    await again.wait(2)
    assert len(looks.seen) == seen
    forget()
    wheel.close()


@pytest.mark.gen_test
async def test_one_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    wheel = Wheel(0.02, spokes=2)

    def broken(now: float) -> None:
        raise RuntimeError("a bug")

    looks = Looks()
    wheel.add(broken)
    wheel.add(looks)
    await looks.wait(2)
    assert "upkeep failed" in caplog.text
    wheel.close()


@pytest.mark.gen_test
async def test_a_member_that_goes_in_the_middle_of_a_turn() -> None:
    wheel = Wheel(0.02, spokes=2)
    other = Looks()

    def leaves(now: float) -> None:
        forget()

    forget = wheel.add(leaves)
    wheel.add(other)
    await other.wait(2)
    assert wheel._size == 1
    wheel.close()


@pytest.mark.gen_test
async def test_a_closed_wheel_stands_still_and_may_turn_again() -> None:
    wheel = Wheel(0.02, spokes=2)
    first, second = Looks(), Looks()
    forget = wheel.add(first)
    wheel.close()
    assert wheel._timer is None
    forget()
    forget = wheel.add(second)
    await second.wait(2)
    assert first.seen == []
    forget()
    wheel.close()
