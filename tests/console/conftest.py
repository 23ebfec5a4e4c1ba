"""A gateway behind a bare Tornado application: the handshake and the relay without pages and people."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from cyberlab.console import transports
from cyberlab.console.client import ClientLink
from cyberlab.console.registry import ConsoleRequest, Registry
from cyberlab.console.session import Gateway, Limits
from cyberlab.console.upstream import Target
from cyberlab.handlers.takeover import TakeoverProtocol
from cyberlab.problems import Problem
from tests.console.ends import BrowserEnd, ProxmoxServer, Script


@dataclass
class Source:
    """Hands out targets, or fails as told."""

    make: Callable[[], Target]
    failure: Problem | None = None
    explanation: Problem | None = None
    targets: int = 0
    refused_cookies: int = 0

    async def target(self) -> Target:
        self.targets += 1
        if self.failure is not None:
            raise self.failure
        return self.make()

    def cookie_refused(self) -> None:
        self.refused_cookies += 1

    async def explain(self) -> Problem | None:
        return self.explanation


@dataclass
class Rows:
    """The console log in memory."""

    rows: list[dict[str, object]] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def opened(self, request: ConsoleRequest) -> int:
        self.rows.append({"vm": request.vm_label})
        return len(self.rows) - 1

    async def closed(self, row: int, bytes_to_client: int, bytes_to_upstream: int, reason: str) -> None:
        self.rows[row] |= {"to_client": bytes_to_client, "to_upstream": bytes_to_upstream, "reason": reason}
        self.ended.set()


@dataclass
class Bench:
    """Everything that a console test needs in hand."""

    proxmox: ProxmoxServer
    gateway: Gateway
    source: Source
    rows: Rows
    port: int
    request: ConsoleRequest
    browsers: list[BrowserEnd] = field(default_factory=list)

    async def browser(self, protocols: str = "", path: str = "/ws") -> BrowserEnd:
        end = await BrowserEnd.connect(self.port, path, protocols)
        self.browsers.append(end)
        return end


Opener = Callable[..., "asyncio.Future[Bench]"]


@asynccontextmanager
async def console_bench(
    script: Script, *, limits: Limits | None = None, view_only: bool = False
) -> AsyncIterator[Bench]:
    """Proxmox's end, the gateway and a web server in front, all on 127.0.0.1."""
    proxmox = await ProxmoxServer(script).start()
    rows = Rows()
    gateway = Gateway(Registry(limit=50, limit_per_user=50), rows, limits)
    source = Source(proxmox.target)
    request = ConsoleRequest(
        user_id=1, username="student", login_session_id=7, vm_id=3, vm_label="demo/100 kali", view_only=view_only,
        request_id="r1",
    )  # fmt: skip

    class Socket(WebSocketHandler):
        def get_websocket_protocol(self) -> TakeoverProtocol:
            return TakeoverProtocol(self, self.taken)

        def select_subprotocol(self, subprotocols: list[str]) -> str | None:
            return next((name for name in ("cyberlab.events", "binary") if name in subprotocols), None)

        def taken(self, sock: socket.socket, leftover: bytes) -> None:
            events = "cyberlab.events" in self.request.headers.get("Sec-WebSocket-Protocol", "")
            link = ClientLink(events=events, leftover=leftover)

            async def adopt() -> None:
                await transports.adopt(lambda: link, sock)
                gateway.open(link, request, source)

            self.settings["tasks"].append(asyncio.ensure_future(adopt()))

    tasks: list[asyncio.Future[None]] = []
    server = HTTPServer(Application([("/ws", Socket)], tasks=tasks, log_function=lambda handler: None))
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    server.add_sockets([sock])
    bench = Bench(proxmox, gateway, source, rows, sock.getsockname()[1], request)
    try:
        yield bench
    finally:
        for end in bench.browsers:
            end.close()
        await gateway.close(2.0)
        server.stop()
        await server.close_all_connections()
        await proxmox.close()


@pytest.fixture
def bench() -> Callable[..., object]:
    """The context manager above, for tests to enter with their own script."""
    return console_bench


@pytest.fixture(params=["aiofastnet", "asyncio"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs on both kinds of transports."""
    if request.param == "asyncio":
        monkeypatch.setattr(transports, "FAST", False)
    elif not transports.FAST:
        pytest.skip("aiofastnet is not installed")
    return str(request.param)
