"""The inventory's age, and what is left of it when the cluster does not answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import inventory
from cyberlab.proxmox.answers import Resource
from cyberlab.proxmox.inventory import Inventory, InventoryCache


class Fetch:
    def __init__(self) -> None:
        self.asked = 0
        self.problem: Problem | None = None

    async def __call__(self) -> list[Resource]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.problem:
            raise self.problem
        return [Resource(100, "qemu", "pve1", "running", name=f"asked {self.asked}")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(inventory, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.gen_test
async def test_asked_again_only_when_too_old(clock: list[float]) -> None:
    fetch = Fetch()
    cache = InventoryCache(fetch)
    before = datetime.now(UTC)
    first = await cache.get(10.0)
    assert before <= first.as_of <= datetime.now(UTC)
    assert first.resources[100].name == "asked 1"
    clock[0] += 9.0
    assert await cache.get(10.0) is first
    assert (await cache.get(8.0)).resources[100].name == "asked 2"
    clock[0] += 0.001
    assert (await cache.get(0.0)).resources[100].name == "asked 3"


@pytest.mark.gen_test
async def test_one_call_for_a_whole_class() -> None:
    fetch = Fetch()
    cache = InventoryCache(fetch)
    found = await asyncio.gather(*(cache.get(10.0) for _ in range(200)))
    assert fetch.asked == 1
    assert all(one is found[0] for one in found)


@pytest.mark.gen_test
async def test_the_last_good_one_survives_a_failure(clock: list[float]) -> None:
    fetch = Fetch()
    cache = InventoryCache(fetch)
    good = await cache.get(10.0)
    clock[0] += 60.0
    fetch.problem = Problem(problems.PVESH_TIMEOUT)
    with pytest.raises(Problem):
        await cache.get(10.0)
    assert cache.last is good
    clock[0] += 1.1
    with pytest.raises(Problem):
        await cache.get(10.0)
    assert fetch.asked == 3, "a failure does not count as asked"


@pytest.mark.gen_test
async def test_a_cluster_that_is_down_is_left_alone_for_longer_and_longer(clock: list[float]) -> None:
    fetch = Fetch()
    cache = InventoryCache(fetch)
    fetch.problem = Problem(problems.SSH_REFUSED, "pve1")
    asked = []
    for _ in range(60):
        with pytest.raises(Problem, match=problems.SSH_REFUSED):
            await cache.get(10.0)
        asked.append(fetch.asked)
        clock[0] += 1.0
    assert fetch.asked < 10
    assert asked[:5] == [1, 2, 2, 3, 3]
    with pytest.raises(Problem):
        await cache.get(0.0)
    assert fetch.asked == asked[-1] + 1, "who wants to know now is not kept waiting"
    fetch.problem = None
    clock[0] += 15.0
    assert (await cache.get(10.0)).resources[100].status == "running"
    assert cache.problem is None


def test_how_old_it_is() -> None:
    old = Inventory(datetime.now(UTC) - timedelta(seconds=90), {})
    assert 89 < old.age < 120
