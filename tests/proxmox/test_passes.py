"""One pass for all, kept for half an hour, forgotten when Proxmox refuses it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import passes
from cyberlab.proxmox.passes import LIFETIME, Pass, Passes


class Fetch:
    def __init__(self) -> None:
        self.asked = 0
        self.problem: Problem | None = None

    async def __call__(self) -> Pass:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        if self.problem:
            raise self.problem
        return Pass.of_cookie("root@pam", f"PVE:{number}")


@pytest.mark.gen_test
async def test_one_request_for_any_number_of_waiters() -> None:
    fetch = Fetch()
    cache = Passes(fetch)
    assert {one.cookie for one in await asyncio.gather(*(cache.get() for _ in range(200)))} == {"PVE:1"}
    assert fetch.asked == 1


@pytest.mark.gen_test
async def test_kept_for_half_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(passes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cache = Passes(Fetch())
    assert (await cache.get()).cookie == "PVE:1"
    now[0] += LIFETIME - 1.0
    assert (await cache.get()).cookie == "PVE:1"
    now[0] += 2.0
    assert (await cache.get()).cookie == "PVE:2"


@pytest.mark.gen_test
async def test_forgotten_once_however_many_were_refused() -> None:
    """A class of students gets a 401 for one old cookie: the first one's word counts, the rest get the new one."""
    fetch = Fetch()
    cache = Passes(fetch)
    old = (await cache.get()).cookie
    for _ in range(20):
        cache.forget(old)
        assert (await cache.get()).cookie == "PVE:2"
    assert fetch.asked == 2


@pytest.mark.gen_test
async def test_a_failure_is_not_kept() -> None:
    fetch = Fetch()
    cache = Passes(fetch)
    fetch.problem = Problem(problems.SSH_REFUSED)
    with pytest.raises(Problem):
        await cache.get()
    fetch.problem = None
    assert (await cache.get()).cookie == "PVE:2"


@pytest.mark.gen_test
async def test_a_token_stays() -> None:
    async def fetch() -> Pass:
        return Pass.of_token("a@pve!b", "secret")

    cache = Passes(fetch)
    first = await cache.get()
    cache.forget(first.cookie)
    assert await cache.get() is first
