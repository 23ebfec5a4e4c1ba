"""The one place that leans on Tornado's inside: pinned to its version, and no byte lost on the way out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import tornado
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.web import Application
from tornado.websocket import WebSocketHandler, WebSocketProtocol13, _WebSocketParams

from cyberlab.handlers import takeover
from cyberlab.handlers.takeover import TakeoverProtocol, take_socket
from tests.console.certificates import Authority

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
).encode()


@pytest.mark.gen_test
async def test_the_tornado_whose_private_names_are_used() -> None:
    """Read takeover.py against a new Tornado before raising this."""
    assert tornado.version_info[:2] == (6, 6)
    stream = IOStream(socket.socket())
    assert isinstance(stream._read_buffer, bytearray)
    assert stream._state is None
    stream.close()
    assert stream._closed
    assert list(inspect.signature(WebSocketProtocol13.__init__).parameters) == [
        "self", "handler", "mask_outgoing", "params",
    ]  # fmt: skip
    assert inspect.iscoroutinefunction(WebSocketProtocol13._receive_frame_loop)
    # It is called once the 101 is written, as the last thing of the request.
    source = inspect.getsource(WebSocketProtocol13._accept_connection)
    assert source.rstrip().endswith("await self._receive_frame_loop()")
    assert _WebSocketParams().ping_interval is None


class Taken:
    """What the handler was given."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.leftovers: list[bytes] = []
        self.references: list[weakref.ref[Any]] = []
        self.one = asyncio.Event()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, Taken]]:
    taken = Taken()

    class Handler(WebSocketHandler):
        def get_websocket_protocol(self) -> TakeoverProtocol:
            protocol = TakeoverProtocol(self, self.taken)
            taken.references += [weakref.ref(self), weakref.ref(protocol), weakref.ref(self.request)]
            return protocol

        def taken(self, sock: socket.socket, leftover: bytes) -> None:
            taken.sockets.append(sock)
            taken.leftovers.append(leftover)
            taken.one.set()

    server = HTTPServer(Application([("/ws", Handler)], log_function=lambda handler: None), ssl_options=tls)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server.add_sockets([listener])
    try:
        yield listener.getsockname()[1], taken
    finally:
        server.stop()
        await server.close_all_connections()
        for sock in taken.sockets:
            sock.close()


async def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(sock, size - len(data))
    return data


@pytest.mark.parametrize("size", [0, 1, 5000, 300_000])
@pytest.mark.gen_test
async def test_bytes_behind_the_upgrade_are_not_lost(size: int) -> None:
    """A browser may send its first frames without waiting for the 101, in the same segment or right after."""
    behind = os.urandom(size)
    async with serving() as (port, taken):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE + behind)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await taken.one.wait()
        writer.write(b"later")
        rest = await read(taken.sockets[0], size + 5 - len(taken.leftovers[0]))
        assert taken.leftovers[0] + rest == behind + b"later"
        assert len(taken.leftovers[0]) == size if size <= 5000 else True
        writer.close()


@pytest.mark.gen_test
async def test_the_socket_is_ours_alone() -> None:
    async with serving() as (port, taken):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        await taken.one.wait()
        sock = taken.sockets[0]
        assert sock.getpeername() == writer.get_extra_info("sockname")
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        loop = asyncio.get_running_loop()
        assert not loop.remove_reader(sock.fileno()), "Tornado still listens"  # type: ignore[func-returns-value]
        assert not loop.remove_writer(sock.fileno())  # type: ignore[func-returns-value]
        await loop.sock_sendall(sock, b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


@pytest.mark.gen_test
async def test_nothing_of_the_request_outlives_it() -> None:
    """A console is open for hours; its handler, its request and its stream are of no use any more."""
    async with serving() as (port, taken):
        others = weakref.WeakSet(thing for thing in gc.get_objects() if type(thing) is IOStream)  # of earlier tests
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        await taken.one.wait()
        streams = [weakref.ref(thing) for thing in gc.get_objects() if type(thing) is IOStream and thing not in others]
        for _ in range(10):
            await asyncio.sleep(0)
        gc.collect()
        assert [reference() for reference in taken.references] == [None, None, None]
        assert [stream() for stream in streams if stream() is not None] == []
        await asyncio.get_running_loop().sock_sendall(taken.sockets[0], b"open")
        assert await reader.readexactly(4) == b"open"
        writer.close()


@pytest.mark.gen_test
async def test_a_tls_connection_is_refused_and_closed() -> None:
    authority = Authority()
    async with serving(authority.server("127.0.0.1").context) as (port, taken):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=authority.client())
        writer.write(UPGRADE)
        assert (await reader.read()).startswith(b"HTTP/1.1 101 ")
        assert taken.sockets == []
        writer.close()


@pytest.mark.gen_test
async def test_a_tls_stream_is_a_type_error() -> None:
    near, far = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stream = SSLIOStream(context.wrap_socket(near, server_side=True, do_handshake_on_connect=False))
    with pytest.raises(TypeError, match="reverse proxy"):
        await take_socket(stream)
    stream.close()
    far.close()


@pytest.mark.gen_test
async def test_a_browser_that_has_gone_meanwhile() -> None:
    near, far = socket.socketpair()
    stream = IOStream(near)
    stream.close()
    with pytest.raises(StreamClosedError):
        await take_socket(stream)
    far.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        return near, server.accept()[0]


async def full() -> tuple[IOStream, socket.socket]:
    """A stream whose peer does not read, with something still to write."""
    near, far = tcp_pair()
    stream = IOStream(near)
    while not stream.writing():
        stream.write(bytes(100_000))
    stream.write(b"the 101")
    return stream, far


@pytest.mark.gen_test
async def test_the_answer_is_out_before_the_socket_is_taken() -> None:
    stream, far = await full()
    taking = asyncio.ensure_future(take_socket(stream))
    await asyncio.sleep(0)
    assert not taking.done()
    far.setblocking(False)
    last = b""
    while not taking.done():
        with contextlib.suppress(BlockingIOError):
            last = (last + far.recv(1 << 20))[-7:]
        await asyncio.sleep(0)
    with contextlib.suppress(BlockingIOError):
        last = (last + far.recv(1 << 20))[-7:]
    assert last == b"the 101"
    (await taking)[0].close()
    far.close()


@pytest.mark.gen_test
async def test_a_browser_that_does_not_take_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "_FLUSH_SECONDS", 0.01)
    stream, far = await full()
    with pytest.raises(TimeoutError):
        await take_socket(stream)
    assert stream.closed()
    far.close()


@pytest.mark.parametrize("error", [StreamClosedError(), TimeoutError("slow")])
@pytest.mark.gen_test
async def test_a_browser_that_is_lost_on_the_way_is_no_error_of_ours(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def lost(stream: IOStream) -> tuple[socket.socket, bytes]:
        raise error

    monkeypatch.setattr(takeover, "take_socket", lost)
    async with serving() as (port, taken):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE)
        assert (await reader.read()).startswith(b"HTTP/1.1 101 ")
        assert taken.sockets == []
        writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
