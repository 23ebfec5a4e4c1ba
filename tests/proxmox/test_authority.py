"""The cluster's CA is asked for once, and again when it may have been renewed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import authority
from cyberlab.proxmox.authority import MAX_AGE, AuthorityCache


class Fetch:
    def __init__(self) -> None:
        self.asked = 0
        self.problem: Problem | None = None

    async def __call__(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if self.problem:
            raise self.problem
        return f"CA {self.asked}"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(authority, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.mark.gen_test
async def test_once_for_all_who_need_it(clock: list[float]) -> None:
    fetch = Fetch()
    cache = AuthorityCache(fetch)
    assert await asyncio.gather(cache.get(), cache.get()) == ["CA 1", "CA 1"]
    clock[0] += MAX_AGE
    assert await cache.get() == "CA 1"
    clock[0] += 1
    assert await cache.get() == "CA 2"
    cache.close()


@pytest.mark.gen_test
async def test_a_failure_is_not_kept(clock: list[float]) -> None:
    fetch = Fetch()
    cache = AuthorityCache(fetch)
    fetch.problem = Problem(problems.PVESH_TIMEOUT)
    with pytest.raises(Problem):
        await cache.get()
    fetch.problem = None
    assert await cache.get() == "CA 2"
    cache.close()
