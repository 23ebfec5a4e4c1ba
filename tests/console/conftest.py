"""A gateway behind a bare Tornado application: the handshake and the relay without pages and people."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from cyberlab.console import transports
from cyberlab.console.client import ClientLink
from cyberlab.console.gateway import Gateway
from cyberlab.console.registry import ConsoleRequest, Registry
from cyberlab.console.session import Limits
from cyberlab.console.upstream import Target
from cyberlab.handlers.takeover import TakeoverProtocol
from cyberlab.problems import Problem
from tests.console.certificates import Authority
from tests.console.ends import BrowserEnd, ProxmoxServer, Script


@dataclass
class Source:
    """Hands out targets, or fails as told; ``gate`` holds up whoever asks."""

    make: Callable[[], Target]
    failure: Problem | None = None
    explanation: Problem | None = None
    targets: int = 0
    explained: int = 0
    refused_cookies: int = 0
    places: tuple[int, ...] = ()  # in the cluster's line, one after the other
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None
    explain_gate: asyncio.Event | None = None

    async def target(self, on_position: Callable[[int], None]) -> Target:
        self.targets += 1
        self.asked.set()
        for place in self.places:
            on_position(place)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.make()

    def cookie_refused(self) -> None:
        self.refused_cookies += 1

    async def explain(self) -> Problem | None:
        self.explained += 1
        if self.explain_gate is not None:
            await self.explain_gate.wait()
        return self.explanation


@dataclass
class Rows:
    """The console log in memory; the gates stand for a database that takes its time."""

    rows: list[dict[str, object]] = field(default_factory=list)
    beginning: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    opened_gate: asyncio.Event | None = None
    closed_gate: asyncio.Event | None = None

    async def opened(self, request: ConsoleRequest) -> int:
        self.beginning.set()
        if self.opened_gate is not None:
            await self.opened_gate.wait()
        self.rows.append({"vm": request.vm_label})
        return len(self.rows) - 1

    async def closed(self, row: int, bytes_to_client: int, bytes_to_upstream: int, reason: str) -> None:
        self.ending.set()
        if self.closed_gate is not None:
            await self.closed_gate.wait()
        self.rows[row] |= {"to_client": bytes_to_client, "to_upstream": bytes_to_upstream, "reason": reason}
        self.ended.set()

    async def reason(self) -> object:
        """Why the console of the last row has ended; waits for that."""
        await self.ended.wait()
        return self.rows[-1]["reason"]


@dataclass
class Bench:
    """Everything that a console test needs in hand; the next browser opens ``request`` from ``source``."""

    proxmox: ProxmoxServer
    gateway: Gateway
    source: Source
    rows: Rows
    port: int
    request: ConsoleRequest
    browsers: list[BrowserEnd] = field(default_factory=list)
    translate: Callable[[str], str] = str

    async def browser(self, *, events: bool = False) -> BrowserEnd:
        end = await BrowserEnd.connect(self.port, "/ws", "cyberlab.events" if events else "")
        self.browsers.append(end)
        return end

    async def open(self) -> BrowserEnd:
        """A browser that sees the picture."""
        browser = await self.browser()
        await browser.handshake()
        return browser

    def other(self, vm_id: int = 4, make: Callable[[], Target] | None = None) -> Source:
        """The next browser opens this machine."""
        self.request = dataclasses.replace(self.request, vm_id=vm_id)
        self.source = Source(make or self.source.make)
        return self.source


@asynccontextmanager
async def console_bench(
    script: Script,
    *,
    limits: Limits | None = None,
    view_only: bool = False,
    registry: Registry | None = None,
    tls: ssl.SSLContext | None = None,
    **target: Any,
) -> AsyncIterator[Bench]:
    """Proxmox's end, the gateway and a web server in front, all on 127.0.0.1; ``target``: changes to it."""
    proxmox = await ProxmoxServer(script, tls).start()
    rows = Rows()
    registry = Registry(limit=50, limit_per_user=50) if registry is None else registry
    gateway = Gateway(registry, rows, limits)
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
            client = ClientLink(events=events, leftover=leftover, translate=bench.translate)
            gateway.take(sock, client, bench.request, bench.source)

    server = HTTPServer(Application([("/ws", Socket)], log_function=lambda handler: None))
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    server.add_sockets([sock])
    source = Source(lambda: proxmox.target(**target))
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


@pytest.fixture(params=["aiofastnet", "asyncio"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs on both kinds of transports."""
    if request.param == "asyncio":
        monkeypatch.setattr(transports, "FAST", False)
    elif not transports.FAST:
        pytest.skip("aiofastnet is not installed")
    return str(request.param)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Signs certificates for Proxmox's end."""
    return Authority()


@pytest.fixture(params=["tcp", "tls"])
def way(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """How Proxmox is reached."""
    if request.param == "tcp":
        return {}
    return {"tls": authority.server("127.0.0.1").context, "context": authority.client()}
