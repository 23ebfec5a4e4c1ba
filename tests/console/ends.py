"""Both ends of a console for tests: a Proxmox end that follows the test's script, and a browser end on a raw socket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cyberlab.console import frames, rfb
from cyberlab.console.upstream import Target

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CHALLENGE = bytes(range(16))
PASSWORD = "E^ZLT_RN"
ROOM = 256 * 1024  # bytes in the kernel for who reads slowly
SERVER_INIT = struct.pack(">HH16sI", 640, 400, b"\x20\x18\0\1" + b"\0\xff" * 3 + b"\x10\x08\0\0\0\0", 4) + b"test"

Script = Callable[["ProxmoxEnd"], Awaitable[None]]


class ProxmoxEnd:
    """One accepted websocket on the Proxmox side: reads masked frames, writes unmasked ones, byte by byte if told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""
        self._parser = frames.ClientFrames(max_frame=frames.MAX_TO_PROXMOX)
        self._payload = bytearray()
        self.controls: list[frames.Control] = []
        self.client_init = b""

    async def upgrade(self, status: str = "101 Switching Protocols") -> None:
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        key = next(line for line in self.head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key.split(b": ")[1] + GUID).digest()).decode()
        extra = f"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
        self.writer.write(f"HTTP/1.1 {status}\r\n{extra if status[0] == '1' else ''}\r\n".encode())

    async def read(self, size: int) -> bytes:
        """The next payload bytes; the frames must keep Proxmox's rules."""
        while len(self._payload) < size:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError(bytes(self._payload))
            for event in self._parser.feed(data):
                if isinstance(event, frames.Control):
                    self.controls.append(event)
                else:
                    self._payload += event.payload
        taken = bytes(self._payload[:size])
        del self._payload[:size]
        return taken

    def write(self, payload: bytes) -> None:
        self.writer.write(frames.server_frame(frames.BINARY, payload))

    async def authenticate(self, *, accept: bool = True) -> None:
        self.write(rfb.VERSION)
        assert await self.read(12) == rfb.VERSION
        self.write(bytes((1, rfb.SECURITY_VNC_AUTH)))
        assert await self.read(1) == bytes((rfb.SECURITY_VNC_AUTH,))
        self.write(CHALLENGE)
        good = await self.read(16) == rfb.vnc_response(PASSWORD, CHALLENGE)
        if good and accept:
            self.write(bytes(4))
            self.client_init = await self.read(1)
        else:
            self.write(b"\0\0\0\1" + rfb.failure("Authentication failed"))

    async def open(self) -> None:
        await self.upgrade()
        await self.authenticate()
        self.write(SERVER_INIT)


@dataclass
class ProxmoxServer:
    """Listens on 127.0.0.1; each connection runs ``script``."""

    script: Script
    tls: ssl.SSLContext | None = None
    port: int = 0
    connections: int = 0
    ends: list[ProxmoxEnd] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)  # a script has ended
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> ProxmoxServer:
        sock = socket.create_server(("127.0.0.1", 0))
        # Little room on the way, as on a real line: who does not read is noticed soon.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self._server = await asyncio.start_server(self._accepted, sock=sock, limit=1 << 20, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        end = ProxmoxEnd(reader, writer)
        self.ends.append(end)
        try:
            await self.script(end)
        except (EOFError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the console has ended, or the test has
        except Exception as error:
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            self.done.set()
            writer.close()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in self.ends:
            end.writer.close()
        assert not self.errors, self.errors

    def target(self, **changes: Any) -> Target:
        values: dict[str, Any] = {
            "host": "127.0.0.1", "port": self.port, "resource": "/ws?port=5900&vncticket=t",
            "headers": (("Cookie", "PVEAuthCookie=c"),), "vnc_password": PASSWORD,
        }  # fmt: skip
        return Target(**(values | changes))


@asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[ProxmoxServer]:
    """Proxmox's end alone."""
    server = await ProxmoxServer(script, tls).start()
    try:
        yield server
    finally:
        await server.close()


class BrowserEnd:
    """A websocket client on a raw socket, so that a test may send what no browser would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.head = b""

    @classmethod
    async def connect(cls, port: int, path: str = "/ws", protocols: str = "", headers: str = "") -> BrowserEnd:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 20)
        end = cls(reader, writer)
        key = base64.b64encode(os.urandom(16)).decode()
        offered = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offered}{headers}\r\n".encode()
        )
        end.head = await reader.readuntil(b"\r\n\r\n")
        end.status = int(end.head.split(b" ", 2)[1])
        return end

    def send(self, payload: bytes, opcode: int = frames.BINARY) -> None:
        self.writer.write(frames.client_frame(opcode, payload))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte's opcode, its payload."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        assert not second & 0x80, "a server's frame is not masked"
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return first & 0x0F, await self.reader.readexactly(size)

    async def payload(self, opcode: int = frames.BINARY) -> bytes:
        """The next frame's payload; it must have this opcode. Pings are answered on the way."""
        while True:
            got, payload = await self.frame()
            if got == frames.PING and opcode != frames.PING:
                self.send(payload, frames.PONG)
                continue
            assert got == opcode, (got, payload)
            return payload

    async def handshake(self) -> bytes:
        """The browser's half of the RFB handshake; returns ServerInit."""
        assert await self.payload() == rfb.VERSION
        self.send(rfb.VERSION)
        assert await self.payload() == b"\x01\x01"
        self.send(b"\x01")
        assert await self.payload() == bytes(4)
        self.send(b"\x00")  # exclusive: the gateway must not pass that on
        return await self.payload()

    async def closed(self) -> tuple[int, str]:
        """Status and reason of the close frame that comes next; answers it."""
        payload = await self.payload(frames.CLOSE)
        self.send(payload[:2], frames.CLOSE)
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def close(self) -> None:
        self.writer.close()
