"""The way to port 8006: whose certificate is trusted, and that nothing leaves before it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.console import frames
from cyberlab.console.upstream import UpstreamLink, dial
from tests.console.certificates import Authority, pinning
from tests.console.ends import ProxmoxEnd, ProxmoxServer, listening
from tests.console.test_dial import nothing_is_asked, refusal

# Every test on both kinds of transports.
pytestmark = pytest.mark.usefixtures("transport")


async def upgraded(end: ProxmoxEnd) -> None:
    await end.upgrade()
    end.write(bytes(100))
    await end.reader.read()


async def check(server: ProxmoxServer, **changes: Any) -> None:
    link: UpstreamLink = await dial(server.target(**changes))
    assert await link.read(100) == bytes(100)
    link.send(b"x")
    link.abort()


@pytest.mark.gen_test
async def test_a_certificate_of_the_cluster_for_our_address(authority: Authority) -> None:
    async with listening(upgraded, authority.server("127.0.0.1").context) as server:
        await check(server, context=authority.client())
        assert server.connections == 1


@pytest.mark.gen_test
async def test_a_certificate_that_names_the_node_and_not_the_address(authority: Authority) -> None:
    """Proxmox's own: any of the names that it may be for."""
    async with listening(upgraded, authority.server("pve2", "10.0.0.2").context) as server:
        await check(server, context=authority.client(), server_names=("127.0.0.1", "pve1.lab", "pve2"))


@pytest.mark.gen_test
async def test_a_certificate_for_somebody_else(authority: Authority) -> None:
    async with listening(nothing_is_asked, authority.server("evil.example").context) as server:
        for names in ((), ("pve1", "pve2")):
            problem = await refusal(server.target(context=authority.client(), server_names=names))
            assert problem.code == problems.TLS_MISMATCH
        assert all(end.head == b"" for end in server.ends)


@pytest.mark.gen_test
async def test_a_certificate_of_another_authority(authority: Authority) -> None:
    async with listening(nothing_is_asked, Authority().server("127.0.0.1").context) as server:
        names = ("127.0.0.1", "pve1")
        problem = await refusal(server.target(context=authority.client(), server_names=names))
        assert problem.code == problems.TLS_MISMATCH
        assert problem.detail
        assert server.connections <= 1, "another name cannot help"


@pytest.mark.gen_test
async def test_a_pinned_certificate(authority: Authority) -> None:
    ours = authority.server("pve1")
    async with listening(upgraded, ours.context) as server:
        await check(server, context=pinning(), fingerprint=ours.fingerprint)


@pytest.mark.gen_test
async def test_with_another_than_the_pinned_certificate_nothing_is_sent(authority: Authority) -> None:
    async with listening(nothing_is_asked, authority.server("127.0.0.1").context) as server:
        problem = await refusal(server.target(context=pinning(), fingerprint=authority.server("x").fingerprint))
        assert problem.code == problems.TLS_MISMATCH
        await server.done.wait()


@pytest.mark.gen_test
async def test_a_server_that_speaks_no_tls(authority: Authority) -> None:
    async def script(end: ProxmoxEnd) -> None:
        await end.reader.read(1)
        end.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(script) as server:
        assert (await refusal(server.target(context=authority.client()))).code == problems.TLS_MISMATCH


@pytest.mark.gen_test
async def test_megabytes_over_tls_can_be_read_without_a_browser(authority: Authority) -> None:
    """`server.py check` looks at a whole picture; the link must go on reading when its inbox was full."""
    picture = bytes(range(251)) * 8000

    async def script(end: ProxmoxEnd) -> None:
        await end.upgrade()
        for start in range(0, len(picture), 65_000):
            end.write(picture[start : start + 65_000])
        end.writer.write(frames.server_frame(frames.BINARY, b"end"))
        await end.reader.read()

    async with listening(script, authority.server("127.0.0.1").context) as server:
        link = await dial(server.target(context=authority.client()))
        while link.transport.is_reading():
            await asyncio.sleep(0)  # until its inbox is full
        assert await link.read(len(picture)) == picture
        assert await link.read(3) == b"end"
        link.abort()
