"""Dial, verify, upgrade: what Proxmox may answer, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import Any

import pytest

from cyberlab import problems
from cyberlab.console.upstream import Target, connect, dial
from cyberlab.problems import Problem
from tests.console.certificates import pinning
from tests.console.ends import ProxmoxEnd, Script, listening

# Every test on both kinds of transports.
pytestmark = pytest.mark.usefixtures("transport")


async def refusal(target: Target) -> Problem:
    with pytest.raises(Problem) as caught:
        await dial(target)
    return caught.value


def answer(data: bytes) -> Script:
    async def script(end: ProxmoxEnd) -> None:
        end.head = await end.reader.readuntil(b"\r\n\r\n")
        end.writer.write(data)
        assert await end.reader.read(1) == b"", "nothing is sent after a refusal, and the socket is closed"

    return script


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("401 No ticket", problems.COOKIE_REFUSED),
        ("401 Authentication failed!", problems.COOKIE_REFUSED),
        ("401 permission denied - invalid PVEVNC ticket", problems.TICKET_REFUSED),
        ("401 Permission denied - invalid PVEVNC ticket", problems.TICKET_REFUSED),
        ("403 Permission check failed (/vms/103, VM.Console)", problems.PERMISSION_DENIED),
        ("400 Parameter verification failed.", problems.UPGRADE_FAILED),
        ("500 unsupported websocket-version ''", problems.UPGRADE_FAILED),
        ("500 missing websocket-key", problems.UPGRADE_FAILED),
        ("500 Configuration file 'nodes/a/qemu-server/9.conf' does not exist", problems.UPGRADE_FAILED),
        ("200 OK", problems.UPGRADE_FAILED),
        ("301 Moved Permanently", problems.UPGRADE_FAILED),
        ("200", problems.UPGRADE_FAILED),
        ("", problems.UPGRADE_FAILED),
    ],
)
@pytest.mark.gen_test
async def test_what_proxmox_answers_instead_of_a_101(status: str, code: str) -> None:
    async with listening(answer(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode())) as server:
        problem = await refusal(server.target())
        assert problem.code == code
        assert problem.detail.strip() == status
        assert "ticket=t" not in str(problem)


@pytest.mark.gen_test
async def test_the_request_is_what_proxmox_understands() -> None:
    async def script(end: ProxmoxEnd) -> None:
        await end.upgrade()
        await end.reader.read()

    async with listening(script) as server:
        link = await dial(server.target())
        head = server.ends[0].head.decode().split("\r\n")
        assert head[0] == "GET /ws?port=5900&vncticket=t HTTP/1.1"
        fields = dict(line.split(": ", 1) for line in head[1:-2])
        key = fields.pop("Sec-WebSocket-Key")
        assert len(key) == 24
        assert fields == {
            "Host": f"127.0.0.1:{server.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Protocol": "binary",
            "Cookie": "PVEAuthCookie=c",
        }
        link.abort()


@pytest.mark.gen_test
async def test_an_ipv6_address_in_the_request() -> None:
    """RFC 3986, 3.2.2: without the brackets, a proxy in between would take its end for the port."""

    async def script(end: ProxmoxEnd) -> None:
        await end.upgrade()
        await end.reader.read()

    async with listening(script) as server:
        link = await connect(server.target())
        await link.upgrade(replace(server.target(), host="fd00::5"))
        assert f"Host: [fd00::5]:{server.port}" in server.ends[0].head.decode().split("\r\n")
        link.abort()


@pytest.mark.gen_test
async def test_an_answer_byte_by_byte_with_the_first_frame_right_behind() -> None:
    async def script(end: ProxmoxEnd) -> None:
        whole = bytearray()
        end.writer, real = Recorder(whole), end.writer  # type: ignore[assignment]
        await end.upgrade()
        end.write(b"RFB")
        end.writer = real
        for byte in whole:
            end.writer.write(bytes((byte,)))
            await end.writer.drain()
            await asyncio.sleep(0)
        await end.reader.read()

    async with listening(script) as server:
        link = await dial(server.target())
        assert await link.read(3) == b"RFB"
        link.abort()


class Recorder:
    def __init__(self, into: bytearray) -> None:
        self.write = into.extend


BAD = {
    "a header without end": b"HTTP/1.1 101 Switching\r\nX: " + b"x" * 17_000,
    "no Sec-WebSocket-Accept": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    "a wrong Sec-WebSocket-Accept": b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
@pytest.mark.gen_test
async def test_an_answer_that_is_none(data: bytes) -> None:
    async with listening(answer(data)) as server:
        assert (await refusal(server.target())).code == problems.UPGRADE_FAILED


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.gen_test
async def test_a_connection_that_ends_without_an_answer(reset: bool) -> None:
    async def script(end: ProxmoxEnd) -> None:
        await end.reader.readuntil(b"\r\n\r\n")
        if reset:
            end.writer.transport.abort()

    async with listening(script) as server:
        assert (await refusal(server.target())).code == problems.UPSTREAM_CLOSED


@pytest.mark.parametrize("first", [0, 1], ids=["at once", "after our first byte"])
@pytest.mark.gen_test
async def test_an_address_that_pveproxy_keeps_out(first: int) -> None:
    """ALLOW_FROM and DENY_FROM in /etc/default/pveproxy: it accepts and closes (AnyEvent.pm, accept_connections)."""

    async def deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(first)
        writer.close()

    async with await asyncio.start_server(deny, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        problem = await refusal(Target("127.0.0.1", port, "/ws", (), "", pinning()))
    assert problem.code == problems.API_UNREACHABLE


@pytest.mark.gen_test
async def test_silence_is_ended_by_the_callers_deadline_and_leaves_no_socket() -> None:
    """A console's port that was used already: Proxmox answers nothing and keeps the connection for ever."""
    seen = asyncio.Event()

    async def script(end: ProxmoxEnd) -> None:
        await end.reader.readuntil(b"\r\n\r\n")
        seen.set()
        assert await end.reader.read() == b""

    async with listening(script) as server:
        dialling = asyncio.ensure_future(dial(server.target()))
        await seen.wait()
        dialling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dialling
        assert dialling.cancelled()


@pytest.mark.gen_test
async def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    problem = await refusal(Target("127.0.0.1", port, "/", (), ""))
    assert problem.code == problems.API_UNREACHABLE
    assert problem.detail.startswith(f"127.0.0.1:{port}: ")


async def nothing_is_asked(end: ProxmoxEnd) -> None:
    """The cookie and the ticket must not leave before the certificate has been found good."""
    with contextlib.suppress(ConnectionError):
        data = await end.reader.read()
        assert data == b""


@pytest.mark.parametrize("field", ["resource", "header"])
@pytest.mark.gen_test
async def test_a_line_break_in_the_request_is_refused_before_a_byte_is_sent(field: str) -> None:
    async with listening(nothing_is_asked) as server:
        bad: dict[str, Any] = (
            {"resource": "/ws HTTP/1.1\r\nX: "} if field == "resource" else {"headers": (("Cookie", "a\nX: b"),)}
        )
        with pytest.raises(ValueError, match="line break"):
            await dial(server.target(**bad))
        await server.done.wait()


def test_what_proves_that_we_may_does_not_print() -> None:
    target = Target("pve1", 8006, "/ws?vncticket=SECRET", (("Cookie", "SECRET"),), "SECRET", pinning())
    assert "SECRET" not in f"{target!r} {target}"
    assert "pve1" in repr(target)
