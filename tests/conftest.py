"""Fixtures that every test may use, and the watch for what a test leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator

import pytest
from tornado.ioloop import IOLoop

from tests import leaks

# What fixtures of a module or of the whole run have started: it outlives a test on purpose.
_shared = leaks.Snapshot()


def pytest_configure(config: pytest.Config) -> None:
    """Register this suite's markers."""
    config.addinivalue_line("markers", "leaks_ok(reason): this test may leave threads, children, sockets or tasks")


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Note what a fixture wider than a test starts, also when a test asks for it in its middle."""
    global _shared
    if fixturedef.scope == "function":
        return (yield)
    before = leaks.snapshot()
    try:
        return (yield)
    finally:
        _shared |= leaks.snapshot() - before


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves threads, child processes or open sockets behind (marker: ``leaks_ok``)."""
    before = leaks.snapshot()
    yield
    if request.node.get_closest_marker("leaks_ok") is None and (left := leaks.leaked(before | _shared)):
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    """A fresh asyncio loop for pytest-tornado, whose own fixture leaks tasks and warns.

    Tasks that are still there a second after the test fail it: each needs an owner who ends it.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    io = IOLoop.current()
    assert io.asyncio_loop is loop
    yield io
    pending = asyncio.all_tasks(loop)
    if pending:
        _, pending = loop.run_until_complete(asyncio.wait(pending, timeout=1.0))
    left = sorted(repr(task.get_coro()) for task in pending)
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    io.close(all_fds=True)
    asyncio.set_event_loop(None)
    if left and request.node.get_closest_marker("leaks_ok") is None:
        pytest.fail("the test left tasks behind:\n  " + "\n  ".join(left), pytrace=False)
