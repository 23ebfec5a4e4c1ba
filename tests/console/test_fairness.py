"""Whose turn it is: streams a few at a time and in a circle, everything else before them."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cyberlab.console import transports
from cyberlab.console.fairness import MUCH, SIZE, STREAMS, FairLoop, Turn, Turns
from cyberlab.console.upstream import UpstreamLink, UpstreamSink

MANY = 3 * STREAMS + 1


class Nobody(UpstreamSink):
    """Does nothing with what comes."""

    def from_upstream(self, buffer: bytearray, size: int) -> None:
        pass

    def upstream_lost(self) -> None:
        pass


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Connections that all have something to read."""
    with ExitStack() as stack:
        ready = []
        for _ in range(MANY + 2):
            ours, theirs = (stack.enter_context(end) for end in socket.socketpair())
            theirs.send(b"x")
            ready.append(ours)
        yield ready


@pytest.fixture
def turns(sockets: list[socket.socket]) -> Iterator[Turns]:
    """All of them streams but the last two."""
    selector = Turns()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    for sock in sockets[:-2]:
        selector.streams(sock.fileno())
    yield selector
    selector.close()


def chosen(turns: Turns) -> list[int]:
    return [key.fd for key, _ in turns.select(0)]


def test_the_others_come_first_and_a_few_streams_after_them(turns: Turns, sockets: list[socket.socket]) -> None:
    first = chosen(turns)
    assert set(first[:2]) == {sock.fileno() for sock in sockets[-2:]}
    assert len(first) == 2 + STREAMS


def test_every_stream_has_its_turn_before_one_has_another(turns: Turns) -> None:
    seen = Counter(descriptor for _ in range(10 * MANY) for descriptor in chosen(turns)[2:])
    assert len(seen) == MANY
    assert max(seen.values()) - min(seen.values()) <= 1


def test_who_streams_no_more_waits_no_more(turns: Turns, sockets: list[socket.socket]) -> None:
    turns.rests(sockets[0].fileno())
    for _ in range(3):
        assert sockets[0].fileno() in chosen(turns)[:3]


def test_a_stream_that_has_something_to_write_is_not_held_back(turns: Turns, sockets: list[socket.socket]) -> None:
    for sock in sockets[:-2]:
        turns.modify(sock, selectors.EVENT_WRITE)
    assert len(chosen(turns)) == len(sockets)


def test_a_few_streams_need_no_turns(turns: Turns, sockets: list[socket.socket]) -> None:
    for sock in sockets[STREAMS:]:
        turns.rests(sock.fileno())
    assert len(chosen(turns)) == len(sockets)


def test_a_closed_connection_is_forgotten(turns: Turns, sockets: list[socket.socket]) -> None:
    for sock in sockets[:-2]:
        turns.unregister(sock)
        turns.register(sock, selectors.EVENT_READ)
    assert len(chosen(turns)) == len(sockets)


def test_on_any_other_loop_there_are_no_turns() -> None:
    async def take() -> bool:
        with socket.socket() as sock:
            turn = Turn(sock)
            turn.took(SIZE)
            return turn.streaming

    assert not asyncio.run(take())


def test_a_console_that_draws_much_is_a_stream_until_it_draws_less() -> None:
    async def draw() -> list[int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, FairLoop)
        near, far = socket.socketpair()
        link = await transports.adopt(UpstreamLink, near)
        link.sink = Nobody()
        streams = []
        for size in (100, MUCH, SIZE, 100, SIZE):
            link.buffer_updated(size)
            streams.append(len(loop.turns._streams))
        link.transport.pause_reading()
        streams.append(len(loop.turns._streams))
        link.abort()
        far.close()
        await asyncio.sleep(0)
        return streams

    with asyncio.Runner(loop_factory=FairLoop) as runner:
        assert runner.run(draw()) == [0, 1, 1, 0, 1, 0]
