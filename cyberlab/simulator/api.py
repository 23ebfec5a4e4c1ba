"""The web port (8006): the API and vncwebsocket over TLS, with pveproxy's statuses, delays and silences."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
import ssl
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from cyberlab.simulator.callers import Callers
from cyberlab.simulator.certificates import Certificates
from cyberlab.simulator.cpu import Cpu
from cyberlab.simulator.guest import CHUNK, CLOSE_TIMEOUT, Streams, hang_up
from cyberlab.simulator.http import HttpError, Request, Unanswered, read_request, response
from cyberlab.simulator.listener import Listener
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import Route
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.rest import API, Rest
from cyberlab.simulator.state import ClusterState
from cyberlab.simulator.tickets import Tickets
from cyberlab.simulator.vncproxy import Consoles, Slot
from cyberlab.simulator.websocket import FrameRefused, Relay, accept_key, drain_silently

_WEBSOCKET = re.compile(r"/api2/json/nodes/([^/]+)/(qemu|lxc)/([0-9]+)/vncwebsocket")
_TLS_HANDSHAKE = 0x16
_COMPRESSED = 1024  # bytes from which on a client that knows gzip gets it (AnyEvent.pm, response)
INVALID_TICKET = "permission denied - invalid PVEVNC ticket"


class Wedged(Exception):
    """A callback died under libev: the connection stays open, and nothing is ever said on it again."""


class Api:
    """Owns the listening socket and every connection; ``consoles`` are the live ones, for tests."""

    def __init__(
        self,
        state: ClusterState,
        here: str,
        options: Options,
        tickets: Tickets,
        ports: Consoles,
        certificates: Certificates,
        routes: Sequence[Route],
        cpu: Cpu,
    ) -> None:
        self._state = state
        self._options = options
        self._tickets = tickets
        self._ports = ports
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_cert_chain(certificates.node_file, certificates.node_key_file)
        self._callers = Callers(state, tickets)
        self._rest = Rest(state, here, options, routes, cpu)
        self.listener = Listener("pveproxy", 512, self._accepted)
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[Any]] = set()
        self.consoles: set[Relay] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.port

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; 0 takes a free port."""
        await self.listener.start(host, port)

    async def close(self) -> None:
        """Drop every connection and stop listening."""
        await self.listener.close()
        await self._drop_all()

    async def restart(self) -> None:
        """``systemctl restart pveproxy``: every connection ends, consoles too; then it listens again."""
        await self.close()
        await self.listener.reopen()

    def reload(self) -> None:
        """``systemctl reload pveproxy``: connections that wait for a request end, consoles live on."""
        for task in self._idle:
            task.cancel()

    async def _drop_all(self) -> None:
        tasks = [task for task in self._connections if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def end_consoles(self, vmid: int) -> None:
        """End the consoles of a machine that leaves this node."""
        for relay in [relay for relay in self.consoles if relay.vmid == vmid]:
            relay.end()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def _accepted(self, connection: socket.socket) -> None:
        task = asyncio.create_task(self._serve(connection), name="pveproxy connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        """One connection, whatever happens on it; the transport ends with the task."""
        try:
            tls = await asyncio.wait_for(_first_byte(connection), self._options.patience) == _TLS_HANDSHAKE
        except (TimeoutError, OSError):
            connection.close()
            return
        except BaseException:
            connection.close()
            raise
        try:
            reader, writer = await _streams(connection, self._tls if tls else None)
        except (OSError, TimeoutError):  # ssl.SSLError is one: a client that does not trust us
            return
        try:
            if tls:
                await self._requests(reader, writer)
            else:
                await self._redirect(reader, writer)
        except FrameRefused:
            # Without libev the error ends the worker, and everybody's session on it.
            await asyncio.sleep(self._options.patience)
            await self._drop_all()
        except Unanswered:
            await asyncio.sleep(self._options.patience)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            with contextlib.suppress(OSError):
                await hang_up(writer)

    async def _redirect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Plain HTTP gets the way to TLS."""
        async with asyncio.timeout(self._options.patience):
            request = await read_request(reader)
        if request is not None:
            where = f"https://{request.headers.get('host', 'localhost')}{request.path}"
            writer.write(response(301, "Moved Permanently", b"", keep=False, extra={"Location": where}))
            await writer.drain()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            self._idle.add(task)
            try:
                async with asyncio.timeout(self._options.patience):
                    request = await read_request(reader)
            finally:
                self._idle.discard(task)
            if request is None:
                return
            try:
                slot = await self._handle(request, writer)
            except Wedged:
                await drain_silently(reader)
                return
            except HttpError as error:
                if error.status == 401:
                    await asyncio.sleep(self._options.refusal_delay)
                failure = {"data": None} | ({"errors": dict(error.errors)} if error.errors else {})
                body = json.dumps(failure, separators=(",", ":")).encode() if error.body else None
                # AnyEvent.pm, response: whatever fails is the last on its connection.
                writer.write(response(error.status, error.reason, body, keep=False, now=self._tickets.clock()))
                await writer.drain()
                return
            await writer.drain()
            if slot is not None:
                await self._console(slot, (reader, writer))
                return

    async def _handle(self, request: Request, writer: asyncio.StreamWriter) -> Slot | None:
        """Answer a request, or return the console that it opened."""
        if request.path == f"{API}/access/ticket" and request.method == "POST":
            writer.write(self._json(request, self._callers.sign_in(request.form())))
            return None
        if not request.path.startswith("/api2/"):
            raise HttpError(501, f"Method '{request.method} {request.path}' not implemented", body=False)
        userid = self._callers.authenticate(request)
        match = _WEBSOCKET.fullmatch(request.path)
        if match is None or request.method != "GET":
            writer.write(self._json(request, await self._rest.answer(request, userid)))
            return None
        port = self._vncwebsocket(userid, match[1], match[2], int(match[3]), request.query)
        if request.headers.get("upgrade", "").lower() != "websocket":
            writer.write(self._json(request, {"port": str(port)}))
            return None
        return await self._upgrade(request.headers, port, writer)

    def _json(self, request: Request, data: object) -> bytes:
        body = json.dumps({"data": data}, separators=(",", ":")).encode()
        extra = {}
        if len(body) > _COMPRESSED and "gzip" in request.headers.get("accept-encoding", ""):
            body, extra = gzip.compress(body, 6), {"Content-Encoding": "gzip"}
        return response(200, "OK", body, keep=True, extra=extra, now=self._tickets.clock())

    def _vncwebsocket(self, userid: str, node: str, kind: str, vmid: int, query: Mapping[str, str]) -> int:
        """GET vncwebsocket: permission, parameters, ticket, configuration, in this order. Returns the port."""
        path = f"/vms/{vmid}"
        if not self._state.may(userid, path, "VM.Console"):
            raise HttpError(403, f"Permission check failed ({path}, VM.Console)")
        ticket, port_text = query.get("vncticket", ""), query.get("port", "")
        if not ticket or len(ticket) > 512 or not re.fullmatch("59[0-9][0-9]", port_text):
            raise HttpError(400, "Parameter verification failed.")
        port = int(port_text)
        if not self._tickets.vnc_holds(ticket, userid, path, port if self._options.hardened else None):
            raise HttpError(401, INVALID_TICKET)
        try:
            self._state.vm(node, kind, vmid)
        except Refusal as refusal:
            raise HttpError(500, refusal.message) from None
        return port

    async def _upgrade(self, headers: Mapping[str, str], port: int, writer: asyncio.StreamWriter) -> Slot | None:
        """AnyEvent.pm websocket_proxy: connect to the worker's port first, then answer."""
        version = headers.get("sec-websocket-version", "")
        if version != "13":
            raise HttpError(500, f"unsupported websocket-version '{version}'")
        key = headers.get("sec-websocket-key", "")
        if not key:
            raise HttpError(500, "missing websocket-key")
        slot = self._ports.accept(port)
        if slot is None:
            # `tcp_connect … or die` inside a callback: no response, and the connection's timeout is off by now.
            trouble = f"connect to 'localhost:{port}' failed: Connection refused"
            raise Wedged(trouble) if self._options.libev else FrameRefused(trouble)
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: WebSocket", "Connection: Upgrade"]
        lines.append(f"Sec-WebSocket-Accept: {accept_key(key)}")
        if "sec-websocket-protocol" in headers:
            lines.append(f"Sec-WebSocket-Protocol: {headers['sec-websocket-protocol']}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return slot

    async def _console(self, slot: Slot, client: Streams) -> None:
        """Relay until one side ends; the end is a bare TCP close."""
        status = "OK"
        try:
            guest = await _unless_gone(self._ports.attach(slot), client[1])
            if guest is None:
                status = "Failed to run vncproxy."
                await asyncio.sleep(self._options.stopped_close)
                return
            relay = Relay(
                client, guest, self._options,
                vmid=slot.vm.vmid, terminal=not slot.password, powered=self._ports.powered(slot),
            )  # fmt: skip
            self.consoles.add(relay)
            try:
                await relay.run()
            finally:
                self.consoles.discard(relay)
        finally:
            self._ports.end(slot, status)


async def _unless_gone(
    attaching: Coroutine[None, None, Streams | None], client: asyncio.StreamWriter
) -> Streams | None:
    """Wait for the guest, but not for longer than the client does."""
    task = asyncio.create_task(attaching, name="qm vncproxy")
    try:
        while not task.done() and not client.is_closing():
            await asyncio.wait([task], timeout=0.2)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return None if task.cancelled() else task.result()


async def _first_byte(connection: socket.socket) -> int:
    """Look at what the client says first without taking it."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
    first = connection.recv(1, socket.MSG_PEEK)
    if not first:
        raise ConnectionResetError("the client left at once")
    return first[0]


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _streams(connection: socket.socket, tls: ssl.SSLContext | None) -> Streams:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    limits = {"ssl_handshake_timeout": 10.0, "ssl_shutdown_timeout": CLOSE_TIMEOUT} if tls else {}
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls, **limits)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
