"""Raw clients for the simulated cluster: a websocket and an RFB viewer that do exactly what a test tells them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import paramiko

from cyberlab.simulator.guest_drawn import vnc_response
from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.pvesh import Outcome
from cyberlab.simulator.websocket import unmask
from tests import patience

DEADLINE = patience.SECONDS


def connect_ssh(cluster: SimulatedCluster, node: str = "pve1") -> paramiko.SSHClient:
    """A paramiko client that verifies the host key; blocking."""
    member = cluster.members[node]
    client = paramiko.SSHClient()
    client.load_host_keys(str(cluster.known_hosts))
    client.connect(
        member.host, member.sshd.port, "root", key_filename=str(cluster.key_path), allow_agent=False,
        look_for_keys=False, timeout=DEADLINE,
    )  # fmt: skip
    transport = client.get_transport()
    assert transport is not None
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]
    return client


def execute(client: paramiko.SSHClient, command: str) -> Outcome:
    """Run one command line; blocking."""
    _, stdout, stderr = client.exec_command(command, timeout=DEADLINE)
    out, err = stdout.read().decode(), stderr.read().decode()
    return Outcome(stdout.channel.recv_exit_status(), out, err)


@dataclass(frozen=True)
class Reply:
    """A status with its reason phrase, and the JSON of the body."""

    status: int
    reason: str
    body: dict[str, Any]

    @property
    def data(self) -> Any:
        return self.body["data"]


@dataclass
class Connection:
    """A TLS connection to the web port."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, cluster: SimulatedCluster, node: str = "pve1") -> Connection:
        member = cluster.members[node]
        context = ssl.create_default_context(cafile=cluster.folder / "pve-root-ca.pem")
        return cls(*await asyncio.open_connection(member.host, member.api.port, ssl=context, limit=2**20))

    async def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        """Send a GET; header names with underscores. Returns status, reason, headers."""
        lines = [f"GET {path} HTTP/1.1", "Host: pve1", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        return await self.answer()

    async def call(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Reply:
        """One call of the API; ``form`` goes into the body, or into the query of a GET."""
        body = urlencode(form or {})
        where = f"/api2/json{path}" + (f"?{body}" if body and method == "GET" else "")
        lines = [f"{method} {where} HTTP/1.1", "Host: pve1"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        sent = b"" if method == "GET" else body.encode()
        self.writer.write(("\r\n".join(lines) + f"\r\nContent-Length: {len(sent)}\r\n\r\n").encode() + sent)
        status, reason, answer = await self.answer()
        return Reply(status, reason, json.loads(await self.body(answer) or b"{}"))

    async def answer(self) -> tuple[int, str, dict[str, str]]:
        async with asyncio.timeout(DEADLINE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.strip().split("\r\n")
        _, status, reason = first.split(" ", 2)
        return int(status), reason, dict(line.split(": ", 1) for line in rest)

    async def body(self, headers: dict[str, str]) -> bytes:
        if "Content-Length" not in headers:
            return await self.reader.read()
        return await self.reader.readexactly(int(headers["Content-Length"]))

    async def frame(self) -> tuple[int, bytes]:
        """One frame from the server."""
        first, second = await self.reader.readexactly(2)
        assert first & 0xF0 == 0x80, "FIN and no RSV"
        assert second < 0x80, "a server does not mask"
        size = second
        if second >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if second == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    def send(self, payload: bytes, opcode: int = 2, *, first: int = 0x80, mask: bool = True, size: int = -1) -> None:
        """One frame to the server, right or wrong; ``size`` lies about the length."""
        length = len(payload) if size < 0 else size
        bit = 0x80 if mask else 0
        head = bytes([first | opcode])
        if length < 126:
            head += bytes([bit | length])
        elif length < 65_536:
            head += bytes([bit | 126]) + struct.pack(">H", length)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", length)
        key = os.urandom(4)
        self.writer.write(head + (key + unmask(key, payload) if mask else payload))

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def websocket_path(vmid: int, port: str, ticket: str, node: str = "pve1", kind: str = "qemu") -> str:
    return f"/api2/json/nodes/{node}/{kind}/{vmid}/vncwebsocket?port={port}&vncticket={quote(ticket, safe='')}"


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": base64.b64encode(b"sixteen bytes...").decode(),
}


async def call(
    cluster: SimulatedCluster,
    method: str,
    path: str,
    form: dict[str, str] | None = None,
    *,
    node: str = "pve1",
    **headers: str,
) -> Reply:
    """One call on a connection of its own, at the web port of ``node``."""
    connection = await Connection.open(cluster, node)
    try:
        return await connection.call(method, path, form, **headers)
    finally:
        await connection.close()


def signed_in(cluster: SimulatedCluster, user: str = "root@pam") -> dict[str, str]:
    """The headers of a browser that has signed in: cookie and CSRF token."""
    return {"Cookie": cookie(cluster, user), "CSRFPreventionToken": cluster.tickets.csrf(user)}


def cookie(cluster: SimulatedCluster, user: str = "root@pam") -> str:
    return "PVEAuthCookie=" + quote(cluster.tickets.cookie(user), safe="")


class Viewer:
    """An RFB 3.8 client over two functions: read exactly n bytes, write."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = b""
        self.size = (0, 0)
        self.name = ""

    async def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            opcode, payload = await self._connection.frame()
            assert opcode == 2, f"binary, not {opcode}"
            self._buffer += payload
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    async def authenticate(self, password: str, *, shared: bool = True) -> None:
        """The handshake; PermissionError when the password is refused."""
        challenge = await self.challenge()
        await self.respond(challenge, password, shared=shared)

    async def challenge(self) -> bytes:
        async with asyncio.timeout(DEADLINE):
            assert await self._read(12) == b"RFB 003.008\n"
            self._connection.send(b"RFB 003.008\n")
            assert await self._read(2) == b"\x01\x02", "exactly VNC authentication"
            self._connection.send(b"\x02")
            return await self._read(16)

    async def respond(self, challenge: bytes, password: str, *, shared: bool = True) -> None:
        async with asyncio.timeout(DEADLINE):
            self._connection.send(vnc_response(challenge, password))
            if await self._read(4) != b"\0\0\0\0":
                (length,) = struct.unpack(">I", await self._read(4))
                raise PermissionError((await self._read(length)).decode())
            self._connection.send(b"\x01" if shared else b"\x00")
            width, height = struct.unpack(">HH", await self._read(4))
            await self._read(16)
            (length,) = struct.unpack(">I", await self._read(4))
            self.size, self.name = (width, height), (await self._read(length)).decode()
            self._connection.send(struct.pack(">BxHi", 2, 1, 0))  # SetEncodings: raw

    def request(self, *, incremental: bool) -> None:
        self._connection.send(struct.pack(">BBHHHH", 3, incremental, 0, 0, *self.size))

    async def update(self) -> list[tuple[tuple[int, int, int, int], bytes]]:
        """The next FramebufferUpdate: rectangles and their pixels."""
        async with asyncio.timeout(DEADLINE):
            while (kind := (await self._read(1))[0]) != 0:
                assert kind in (2, 3), f"server message {kind}"
                if kind == 3:
                    (length,) = struct.unpack(">3xI", await self._read(7))
                    await self._read(length)
            (count,) = struct.unpack(">xH", await self._read(3))
            rectangles = []
            for _ in range(count):
                x, y, width, height, encoding = struct.unpack(">HHHHi", await self._read(12))
                assert encoding == 0, "raw"
                rectangles.append(((x, y, width, height), await self._read(width * height * 4)))
            return rectangles

    def key(self, keysym: int) -> None:
        for down in (1, 0):
            self._connection.send(struct.pack(">BBxxI", 4, down, keysym))


@dataclass
class Ticket:
    """What vncproxy answered, and where it leads."""

    vmid: int
    port: str
    ticket: str
    password: str
    node: str = "pve1"

    @property
    def path(self) -> str:
        return websocket_path(self.vmid, self.port, self.ticket, self.node)


async def get_ticket(cluster: SimulatedCluster, vmid: int = 100, node: str = "pve1") -> Ticket:
    """A ticket by pvesh, and the VNC password as old and new clients know it: the field, or else the ticket."""
    argv = ["create", f"/nodes/{node}/qemu/{vmid}/vncproxy", "--websocket", "1", "--output-format", "json"]
    got = await cluster.pvesh.run(argv)
    assert got.exit == 0, got.stderr
    answer = json.loads(got.stdout)
    return Ticket(vmid, answer["port"], answer["ticket"], answer.get("password") or answer["ticket"], node)


async def open_console(cluster: SimulatedCluster, ticket: Ticket, **headers: str) -> Connection:
    """A connection that got its 101."""
    connection = await Connection.open(cluster)
    answer = await connection.get(ticket.path, Cookie=cookie(cluster), **UPGRADE, **headers)
    assert answer[:2] == (101, "Switching Protocols")
    return connection
