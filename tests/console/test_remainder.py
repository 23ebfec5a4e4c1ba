"""What is asked of aiofastnet beyond its documentation, and that nothing gets stuck in it."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios

import pytest

from cyberlab.console import fairness, transports, upstream
from cyberlab.console.upstream import UpstreamLink, UpstreamSink, dial
from tests.console.certificates import Authority
from tests.console.ends import ProxmoxEnd, listening

pytestmark = pytest.mark.skipif(not transports.FAST, reason="aiofastnet is not installed")

TURN = 64 * 1024  # smaller than ours, as a socket's buffer holds no two of those
RECORD = 10_004  # a frame of 10,000 bytes and its header


class Count(UpstreamSink):
    """Counts what comes, and how much of it in each turn."""

    def __init__(self, expected: int) -> None:
        self.turns: list[int] = []
        self.expected = expected
        self.complete = asyncio.Event()

    def from_upstream(self, buffer: bytearray, size: int) -> None:
        self.turns.append(size)
        if sum(self.turns) >= self.expected:
            self.complete.set()

    def upstream_lost(self) -> None:
        pass

    def upstream_written(self, full: bool) -> None:
        pass


async def all_is_in_the_kernel(link: UpstreamLink, size: int) -> None:
    descriptor = link.transport.get_extra_info("socket").fileno()
    while struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0] < size:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("records", [13, 14, 20])
@pytest.mark.gen_test
async def test_a_turn_that_ends_within_a_record_leaves_nothing_behind(
    authority: Authority, records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL has decrypted the whole of it then, and the socket says that there is nothing to read."""
    monkeypatch.setattr(fairness, "SIZE", TURN)
    monkeypatch.setattr(upstream, "_VIEW", upstream._VIEW[:TURN])

    async def script(end: ProxmoxEnd) -> None:
        await end.upgrade()
        await end.reader.read(1)
        for _ in range(records):
            end.write(bytes(RECORD - 4))
            await end.writer.drain()
        await end.reader.read()

    async with listening(script, authority.server("127.0.0.1").context) as server:
        link = await dial(server.target(context=authority.client()))
        sink = Count(records * RECORD)
        link.hand_over(sink)
        link.transport.pause_reading()
        # Room for all of it: the two turns that resuming takes must not be the last.
        link.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        link.send(b"x")
        await all_is_in_the_kernel(link, records * RECORD)
        link.transport.resume_reading()
        await sink.complete.wait()
        assert sum(sink.turns) == records * RECORD
        assert max(sink.turns) <= TURN
        link.abort()


@pytest.mark.gen_test
async def test_an_idle_console_has_no_buffers_of_its_own(authority: Authority) -> None:
    """Pins what transports.py takes from aiofastnet 1.2: should it be gone, a console costs 48 KiB more."""

    async def script(end: ProxmoxEnd) -> None:
        await end.upgrade()
        await end.reader.read()

    async with listening(script, authority.server("127.0.0.1").context) as server:
        link = await dial(server.target(context=authority.client()))
        assert link.transport.get_extra_info("ssl_incoming_use_membio") is False
        assert link.transport.get_extra_info("ssl_outgoing_use_membio") is False
        assert callable(link.transport._retry_ssl_read)
        link.abort()
