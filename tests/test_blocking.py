"""The crossing between threads and the IOLoop: bounded, with deadlines, and nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from cyberlab.blocking import BlockingPool, PoolBusy

LONG = 10.0  # seconds nobody waits, unless something is broken


class Gate:
    """A blocking call that says when it has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.leave = threading.Event()
        self.thread = ""

    def __call__(self, result: int = 0) -> int:
        self.thread = threading.current_thread().name
        self.began.set()
        assert self.leave.wait(LONG)
        return result

    async def entered(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.began.wait, LONG)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.leave.set()


@pytest.fixture
def pool(gate: Gate) -> Iterator[BlockingPool]:
    """One thread, one place to wait."""
    made = BlockingPool("narrow", 1, waiting=1)
    yield made
    gate.leave.set()
    made.close()


async def _free(pool: BlockingPool) -> None:
    """Wait until the pool takes a call again."""
    while True:
        try:
            return await pool.run(LONG, lambda: None)
        except PoolBusy:
            await asyncio.sleep(0)


def _fail() -> None:
    raise LookupError("from the thread")


@pytest.mark.gen_test
async def test_a_call_runs_on_a_named_thread_and_gives_its_result(pool: BlockingPool) -> None:
    assert await pool.run(LONG, divmod, 7, 2) == (3, 1)
    assert await pool.run(LONG, int, "ff", base=16) == 255
    name = await pool.run(LONG, lambda: threading.current_thread().name)
    assert name.startswith("narrow")
    assert name != threading.current_thread().name
    with pytest.raises(LookupError, match="from the thread"):
        await pool.run(LONG, _fail)


@pytest.mark.gen_test
async def test_the_loop_goes_on_meanwhile(pool: BlockingPool, gate: Gate) -> None:
    call = asyncio.ensure_future(pool.run(LONG, gate, 5))
    await gate.entered()
    assert not call.done()
    gate.leave.set()
    assert await call == 5


@pytest.mark.gen_test
async def test_more_than_may_wait_are_refused_at_once(pool: BlockingPool, gate: Gate) -> None:
    calls = [asyncio.ensure_future(pool.run(LONG, gate, n)) for n in range(2)]
    await gate.entered()
    with pytest.raises(PoolBusy):
        await pool.run(LONG, _fail)
    gate.leave.set()
    assert await asyncio.gather(*calls) == [0, 1]
    await _free(pool)


@pytest.mark.gen_test
async def test_a_deadline_ends_the_wait_but_keeps_the_place(pool: BlockingPool, gate: Gate) -> None:
    """The thread is still taken: were its place given away, the queue behind it would have no bound."""
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await pool.run(0.01, gate)
    with pytest.raises(PoolBusy):
        await pool.run(LONG, _fail)
    gate.leave.set()
    await _free(pool)


@pytest.mark.gen_test
async def test_a_cancelled_caller_keeps_the_place_too(pool: BlockingPool, gate: Gate) -> None:
    calls = [asyncio.ensure_future(pool.run(LONG, gate)) for _ in range(2)]
    await gate.entered()
    for call in calls:
        call.cancel()
    assert [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)] == [asyncio.CancelledError] * 2
    with pytest.raises(PoolBusy):
        await pool.run(LONG, _fail)
    gate.leave.set()
    await _free(pool)


@pytest.mark.gen_test
async def test_a_failure_after_the_deadline_is_not_complained_about(
    pool: BlockingPool, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    def late() -> None:
        gate()
        raise LookupError("too late")

    caplog.set_level(logging.DEBUG)
    with pytest.raises(TimeoutError):
        await pool.run(0.01, late)
    gate.leave.set()
    await _free(pool)
    assert "never retrieved" not in caplog.text


@pytest.mark.gen_test
async def test_a_pool_that_hangs_holds_up_no_other(pool: BlockingPool, gate: Gate) -> None:
    other = BlockingPool("other", 1)
    call = asyncio.ensure_future(pool.run(LONG, gate))
    await gate.entered()
    try:
        assert await other.run(LONG, lambda: 3) == 3
    finally:
        other.close()
        gate.leave.set()
    await call


@pytest.mark.gen_test
async def test_close_waits_for_what_runs_and_drops_what_waits(gate: Gate) -> None:
    pool = BlockingPool("closing", 1, waiting=1)
    running = asyncio.ensure_future(pool.run(LONG, gate, 1))
    await gate.entered()
    waiting = asyncio.ensure_future(pool.run(LONG, _fail))
    await asyncio.sleep(0)
    closing = asyncio.get_running_loop().run_in_executor(None, pool.close)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.leave.set()
    await closing
    assert await running == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closing")]
    with pytest.raises(RuntimeError):
        await pool.run(LONG, _fail)
