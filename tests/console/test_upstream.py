"""VNC authentication by the gateway, and what is handed over to the relay; the way there has test_dial.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyberlab import problems
from cyberlab.console import frames, rfb, vnc
from cyberlab.console.upstream import UpstreamLink, dial
from cyberlab.problems import Problem
from tests.console.ends import CHALLENGE, PASSWORD, SERVER_INIT, ProxmoxEnd, listening
from tests.console.test_frames import FEW, cut

pytestmark = pytest.mark.usefixtures("transport")


def upgraded(script: Callable[[ProxmoxEnd], Awaitable[Any]]) -> Callable[[ProxmoxEnd], Awaitable[None]]:
    async def whole(end: ProxmoxEnd) -> None:
        await end.upgrade()
        await script(end)
        await end.reader.read()

    return whole


@asynccontextmanager
async def dialled(script: Callable[[ProxmoxEnd], Awaitable[Any]]) -> AsyncIterator[UpstreamLink]:
    async with listening(upgraded(script)) as server:
        link = await dial(server.target())
        try:
            yield link
        finally:
            link.abort()


async def refusal(script: Callable[[ProxmoxEnd], Awaitable[Any]], password: str = PASSWORD) -> Problem:
    async with dialled(script) as link:
        with pytest.raises(Problem) as caught:
            await vnc.authenticate(link, password)
        assert PASSWORD not in str(caught.value)
        return caught.value


@pytest.mark.gen_test
async def test_the_handshake_as_qemu_does_it() -> None:
    ends: list[ProxmoxEnd] = []

    async def script(end: ProxmoxEnd) -> None:
        ends.append(end)
        await end.authenticate()
        end.write(SERVER_INIT)

    async with dialled(script) as link:
        await vnc.authenticate(link, PASSWORD)
        assert await link.read(len(SERVER_INIT)) == SERVER_INIT
    assert ends[0].client_init == b"\x01", "shared: an exclusive one throws out everybody else"


@pytest.mark.parametrize("each", [1, 5])
@pytest.mark.gen_test
async def test_rfb_messages_and_frames_and_segments_need_not_agree(each: int) -> None:
    """Proxmox cuts frames anywhere; TCP cuts them again; an empty frame is a frame."""

    async def script(end: ProxmoxEnd) -> None:
        plain = end.write

        def pieces(payload: bytes) -> None:
            for start in range(0, len(payload), each):
                end.writer.write(frames.server_frame(frames.BINARY, b""))
                plain(payload[start : start + each])

        end.write = pieces  # type: ignore[method-assign]
        await end.authenticate()
        whole = frames.server_frame(frames.BINARY, SERVER_INIT)
        for start in range(0, len(whole), each):
            end.writer.write(whole[start : start + each])
            await end.writer.drain()
            await asyncio.sleep(0)

    async with dialled(script) as link:
        await vnc.authenticate(link, PASSWORD)
        assert await link.read(len(SERVER_INIT)) == SERVER_INIT


@pytest.mark.parametrize("size", [126, 65_536])
@pytest.mark.gen_test
async def test_frames_of_every_length_form(size: int) -> None:
    async def script(end: ProxmoxEnd) -> None:
        end.write(bytes(size) + rfb.VERSION)

    async with dialled(script) as link:
        assert await link.read(size) == bytes(size)
        assert await link.read(12) == rfb.VERSION


@pytest.mark.gen_test
async def test_a_wrong_password() -> None:
    problem = await refusal(lambda end: end.authenticate(), password="e^zlt_rn")
    assert (problem.code, problem.detail) == (problems.VNC_AUTH_FAILED, "Authentication failed")


@pytest.mark.gen_test
async def test_a_wrong_password_of_which_nothing_more_is_said() -> None:
    """RFB 3.8 wants a reason, but a server may as well just hang up."""

    async def script(end: ProxmoxEnd) -> None:
        end.write(rfb.VERSION + b"\x01\x02" + CHALLENGE)
        await end.read(12 + 1 + 16)
        end.write(b"\0\0\0\1")
        await end.writer.drain()
        end.writer.write_eof()

    assert (await refusal(script)).code == problems.VNC_AUTH_FAILED


def says(*payloads: bytes) -> Callable[[ProxmoxEnd], Awaitable[None]]:
    async def script(end: ProxmoxEnd) -> None:
        for payload in payloads:
            end.write(payload)

    return script


REFUSED = {
    "RFB 3.3": (says(b"RFB 003.003\n\0\0\0\2"), problems.VNC_PROTOCOL, "003.003"),
    "no RFB": (says(b"SSH-2.0-Open"), problems.VNC_PROTOCOL, "SSH-2.0"),
    "a spice server": (says(b"REDQ\x02\0\0\0\0\0\0\0"), problems.VNC_PROTOCOL, "REDQ"),
    "VeNCrypt only": (says(rfb.VERSION, b"\x02\x13\x05"), problems.VNC_PROTOCOL, "[19, 5]"),
    "no type, and why": (says(rfb.VERSION, b"\0" + rfb.failure("too many")), problems.VNC_PROTOCOL, "too many"),
    "a close frame": (lambda end: sent(end, b"\x88\x00"), problems.UPSTREAM_CLOSED, "88"),
    "a ping": (lambda end: sent(end, b"\x89\x00"), problems.UPSTREAM_CLOSED, "89"),
    "a masked frame": (lambda end: sent(end, frames.client_frame(2, b"RFB")), problems.UPSTREAM_CLOSED, "82"),
}


async def sent(end: ProxmoxEnd, data: bytes) -> None:
    end.writer.write(data)


@pytest.mark.parametrize(("script", "code", "word"), REFUSED.values(), ids=REFUSED)
@pytest.mark.gen_test
async def test_what_is_not_rfb_as_proxmox_speaks_it(
    script: Callable[[ProxmoxEnd], Awaitable[None]], code: str, word: str
) -> None:
    problem = await refusal(script)
    assert problem.code == code
    assert word in problem.detail


@pytest.mark.gen_test
async def test_a_reason_without_end_is_not_waited_for() -> None:
    script = says(rfb.VERSION, b"\0\xff\xff\xff\xff" + b"x" * 300)
    problem = await refusal(script)
    assert problem.detail == "x" * 256


@pytest.mark.gen_test
async def test_a_server_without_a_password() -> None:
    async def script(end: ProxmoxEnd) -> None:
        end.write(rfb.VERSION + b"\x01\x01")
        assert await end.read(13) == rfb.VERSION + b"\x01"
        end.write(bytes(4))
        assert await end.read(1) == b"\x01"
        end.write(SERVER_INIT)

    async with dialled(script) as link:
        await vnc.authenticate(link, "")
        assert await link.read(len(SERVER_INIT)) == SERVER_INIT


@pytest.mark.gen_test
async def test_of_several_types_the_one_with_the_password() -> None:
    async def script(end: ProxmoxEnd) -> None:
        end.write(rfb.VERSION + b"\x03\x13\x02\x01")
        assert await end.read(13) == rfb.VERSION + b"\x02"
        end.write(CHALLENGE)
        assert await end.read(16) == rfb.vnc_response(PASSWORD, CHALLENGE)
        end.write(bytes(4))

    async with dialled(script) as link:
        await vnc.authenticate(link, PASSWORD)


@pytest.mark.gen_test
async def test_a_connection_that_ends_in_the_handshake() -> None:
    async def script(end: ProxmoxEnd) -> None:
        end.write(rfb.VERSION)
        end.writer.write_eof()

    assert (await refusal(script)).code == problems.UPSTREAM_CLOSED


# --- the hand-over


class Sink:
    def from_upstream(self, view: memoryview, size: int) -> None:
        raise AssertionError("nothing more was sent")

    upstream_lost = upstream_written = from_upstream


async def feed(data: bytes, places: list[int], taken: int) -> bytes:
    """Have a link read ``taken`` payload bytes of ``data``; return what it hands over."""
    link = UpstreamLink()

    class Still:
        def resume_reading(self) -> None:
            """The rest comes by itself."""

        pause_reading = resume_reading

        def set_write_buffer_limits(self, high: int) -> None:
            """Nothing is written."""

        def get_extra_info(self, name: str) -> None:
            """No TLS, no socket."""

    link.connection_made(Still())
    reading = asyncio.ensure_future(link.read(taken))
    for piece in cut(data, places):
        await asyncio.sleep(0)
        for start in range(0, len(piece), 60_000):
            part = piece[start : start + 60_000]
            link.get_buffer(-1)[: len(part)] = part
            link.buffer_updated(len(part))
    await reading
    return link.hand_over(Sink())


@FEW
@given(
    st.lists(st.one_of(st.integers(0, 200), st.sampled_from((125, 126, 65_536))), min_size=1, max_size=5),
    st.lists(st.integers(0, 70_000), max_size=8),
    st.integers(0, 70_000),
)
def test_what_was_read_too_far_is_handed_over_as_whole_frames(sizes: list[int], places: list[int], taken: int) -> None:
    """Wherever the handshake ends: what follows begins with a header, and no byte is lost or told twice."""
    payload = bytes(index % 251 for index in range(sum(sizes)))
    data, at = b"", 0
    for size in sizes:
        data += frames.server_frame(frames.BINARY, payload[at : at + size])
        at += size
    taken %= len(payload) + 1
    early = asyncio.run(feed(data, places, taken))
    rest = b""
    while early:
        size = early[1]
        start = 2 if size < 126 else 4 if size == 126 else 10
        size = size if size < 126 else int.from_bytes(early[2:start], "big")
        assert early[0] == 0x82
        assert len(early) >= start + size
        rest, early = rest + early[start : start + size], early[start + size :]
    assert rest == payload[taken:]


def test_a_frame_that_is_not_complete_yet_is_handed_over_with_its_full_length() -> None:
    begun = frames.header(frames.BINARY, 300) + b"abcdef"
    assert asyncio.run(feed(begun, [], 2)) == frames.header(frames.BINARY, 298) + b"cdef"
    assert asyncio.run(feed(begun, [], 6)) == frames.header(frames.BINARY, 294)
    whole = frames.server_frame(frames.BINARY, b"ab")
    assert asyncio.run(feed(whole + b"\x82\x7e\x01", [], 2)) == b"\x82\x7e\x01"
