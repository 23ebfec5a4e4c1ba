"""Both kinds of transports: what they keep, and that nothing is left open when the way is cut short."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from cyberlab.console import transports
from tests.console.certificates import pinning

pytestmark = pytest.mark.usefixtures("transport")


class Ends(asyncio.BufferedProtocol):
    """Waits for its end."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return bytearray(16)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def test_what_a_transport_keeps_does_not_change_under_it(transport: str) -> None:
    """asyncio's keeps the view that it could not send (since 3.12), and our buffer is read into again."""
    buffer = bytearray(b"picture")
    kept = transports.lasting(memoryview(buffer)[:4])
    assert bytes(kept) == b"pict"
    if transport == "asyncio":
        buffer[:] = b"another"
        assert bytes(kept) == b"pict"


@pytest.mark.gen_test
async def test_an_adopted_socket_goes_with_its_transport() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    adopted = await transports.adopt(Ends, near)
    adopted.transport.abort()  # type: ignore[attr-defined]
    await adopted.lost.wait()
    assert far.recv(1) == b""
    far.close()


@pytest.mark.gen_test
async def test_a_socket_whose_peer_has_gone_is_adopted_and_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    near.setblocking(False)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    far.close()
    adopted = await transports.adopt(Ends, near)
    await adopted.lost.wait()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.gen_test
async def test_a_connection_that_is_given_up_leaves_no_socket(tls: bool) -> None:
    """A server that says nothing, not even in TLS's handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        dialling = asyncio.ensure_future(transports.connect(Ends, host, port, pinning() if tls else None, host))
        server.setblocking(False)
        peer, _ = await asyncio.get_running_loop().sock_accept(server)
        dialling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await dialling).transport.abort()  # type: ignore[attr-defined]
        peer.setblocking(False)
        while await asyncio.get_running_loop().sock_recv(peer, 1000):
            pass  # the beginning of a handshake
        peer.close()
