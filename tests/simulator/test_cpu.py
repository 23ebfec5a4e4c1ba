"""Processors that are shared, on a clock that the test turns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cyberlab.simulator.cpu import Cpu


class _Clock:
    """Stands still until turned; runs what is due, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 0.0
        self._due: list[tuple[float, Any, tuple[Any, ...]]] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: self._now)
        monkeypatch.setattr(loop, "call_later", self._later)

    def _later(self, delay: float, callback: Any, *args: Any) -> Any:
        entry = (self._now + delay, callback, args)
        self._due.append(entry)

        class Handle:
            cancel = staticmethod(lambda: self._due.remove(entry) if entry in self._due else None)

        return Handle()

    async def turn(self, seconds: float) -> None:
        end = self._now + seconds
        while self._due and min(entry[0] for entry in self._due) <= end + 1e-9:
            entry = min(self._due, key=lambda entry: entry[0])
            self._due.remove(entry)
            self._now = max(self._now, entry[0])
            entry[1](*entry[2])
            await _settle()
        self._now = end


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _start(cpu: Cpu, *seconds: float) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(cpu.work("test", each)) for each in seconds]


@pytest.mark.gen_test
async def test_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cpu = _Clock(monkeypatch), Cpu(2)
    tasks = _start(cpu, 1.0, 1.0, 1.0, 1.0)
    await _settle()
    await clock.turn(1.9)
    assert not any(task.done() for task in tasks), "four on two cores: half as fast"
    await clock.turn(0.1)
    await asyncio.gather(*tasks)
    assert cpu.total == 4.0


@pytest.mark.gen_test
async def test_who_comes_later_slows_the_others_down_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cpu = _Clock(monkeypatch), Cpu(1)
    first = _start(cpu, 1.0)
    await _settle()
    await clock.turn(0.5)
    second = _start(cpu, 1.0)
    await _settle()
    await clock.turn(0.9)
    assert not first[0].done()
    await clock.turn(0.1)
    assert first[0].done(), "0.5 alone, then 1.0 at half speed"
    assert not second[0].done()
    await clock.turn(0.5)
    assert second[0].done()


@pytest.mark.gen_test
async def test_one_job_has_one_thread_and_no_cores_means_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores in (4, 0):
        clock, cpu = _Clock(monkeypatch), Cpu(cores)
        tasks = _start(cpu, 1.0, 1.0, 0.0)
        await _settle()
        await clock.turn(0.9)
        assert [task.done() for task in tasks] == [False, False, True]
        await clock.turn(0.1)
        await asyncio.gather(*tasks)


@pytest.mark.gen_test
async def test_a_job_that_is_cancelled_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, cpu = _Clock(monkeypatch), Cpu(1)
    one, two = _start(cpu, 1.0, 1.0)
    await _settle()
    one.cancel()
    await _settle()
    assert cpu.jobs == 1
    await clock.turn(1.0)
    assert two.done()


@pytest.mark.gen_test
async def test_close_ends_all() -> None:
    cpu = Cpu(1)
    tasks = _start(cpu, 60.0, 60.0)
    await _settle()
    cpu.close()
    assert all(
        isinstance(ended, asyncio.CancelledError) for ended in await asyncio.gather(*tasks, return_exceptions=True)
    )
