"""The console's websocket: decided here, before the upgrade; relayed by cyberlab.console from then on."""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable

from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler

from cyberlab.auth.access import Action, may
from cyberlab.console.client import ClientLink
from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import vms
from cyberlab.db.engine import Database
from cyberlab.handlers import languages
from cyberlab.handlers.base import BaseHandler, requires
from cyberlab.handlers.console import check_openable, check_origin
from cyberlab.handlers.explanations import NOT_YOUR_MACHINE, SIGN_IN, Refusal
from cyberlab.handlers.takeover import TakeoverProtocol
from cyberlab.handlers.vm_source import VmSource

EVENTS = "cyberlab.events"  # the page understands text messages beside the picture (docs/architecture.md)


@requires(Action.OPEN_CONSOLE, on_vm=True)
class ConsoleSocketHandler(BaseHandler, WebSocketHandler):
    """`/vnc-proxy/ws/<id>`: 401, 403, 404 or 503 in plain words, else a console."""

    async def prepare(self) -> None:
        """Everything that may be refused is refused here.

        Tornado asks check_origin() neither for requests of the same origin nor for those without one, so that
        nothing may hang on it.
        """
        check_origin(self, self.request.headers.get("Origin"))
        await super().prepare()
        if self.watch and not may(self.user.role, Action.SUPERVISE, self.facts):
            raise Refusal(403, NOT_YOUR_MACHINE, f"{self.user.username} may not watch")
        check_openable(self)

    @property
    def watch(self) -> bool:
        """Whether the page only looks; the gateway then drops what it would type or click."""
        return self.get_query_argument("watch", "") == "1"

    @property
    def wall(self) -> bool:
        """Whether it is one of many on a teacher's wall, which only looks."""
        return self.watch and self.get_query_argument("wall", "") == "1"

    async def head(self, *args: str, **kwargs: str) -> None:
        """A websocket opens by GET alone."""
        raise HTTPError(405)

    def _ask_to_sign_in(self) -> None:
        raise Refusal(401, SIGN_IN)

    def check_origin(self, origin: str) -> bool:
        """Decided in prepare()."""
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Our own page first, then what noVNC asks for by itself."""
        return next((name for name in (EVENTS, "binary") if name in subprotocols), None)

    def get_websocket_protocol(self) -> TakeoverProtocol | None:
        """Take the socket over after the 101; None for a version other than 13 (RFC 6455, 4.2.2)."""
        if self.request.headers.get("Sec-WebSocket-Version") != "13":
            return None
        return TakeoverProtocol(self, self._taken)

    def _taken(self, sock: socket.socket, leftover: bytes) -> None:
        portal, vm, user = self.portal, self.vm, self.user
        offered = [name.strip() for name in self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        translate = functools.partial(languages.translate, self.locale)  # holds the language, not the request
        client = ClientLink(events=EVENTS in offered, leftover=leftover, translate=translate)
        request = ConsoleRequest(
            user_id=user.user_id,
            username=user.username,
            login_session_id=user.session_id,
            vm_id=vm.id,
            vm_label=vm.label,
            as_teacher=self.watch,
            view_only=self.watch,
            wall=self.wall,
            address=self.client_address,
            request_id=self.request_id,
        )
        source = VmSource(portal.clusters[vm.cluster], vm, _moved(portal.database, vm.id), str(user.user_id))
        portal.gateway.take(sock, client, request, source)


def _moved(database: Database, vm_id: int) -> Callable[[str], Awaitable[None]]:
    """Note a machine's new node; holds the database and the id, not the request."""

    async def moved(node: str) -> None:
        await database.run(vms.moved, vm_id, node)

    return moved
