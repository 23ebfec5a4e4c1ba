"""A class at its browsers, for bench/nine.py: sign in, click on a machine, read until there is a picture, stay."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

PATIENCE = 75.0  # seconds for one picture; the line in front of a node has sixty
SIGN_INS = 8  # at a time
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


class NoPicture(Exception):
    """What a student got instead."""


@dataclass
class Student:
    """One person with one machine; times are the monotonic clock's."""

    name: str
    vm_id: int
    node: str
    cookie: str = ""
    clicked: float = 0.0
    picture: float = 0.0
    places: list[int] = field(default_factory=list)  # in line, as the page was told
    error: str = ""
    lost: str = ""  # how an open console ended before its time

    def begin(self) -> None:
        """Forget an earlier lesson."""
        self.clicked = self.picture = 0.0
        self.places, self.error, self.lost = [], "", ""


async def sign_in(port: int, students: Sequence[Student], password: str) -> None:
    """Sign everybody in by the form."""
    client = SimpleAsyncHTTPClient(force_instance=True, max_clients=SIGN_INS)

    async def one(number: int, student: Student) -> None:
        form = {"_xsrf": "0" * 32, "username": student.name, "password": password}
        answer = await client.fetch(
            HTTPRequest(
                f"http://127.0.0.1:{port}/auth/login", "POST", body=urlencode(form), follow_redirects=False,
                connect_timeout=60.0, request_timeout=60.0,
                headers={"Cookie": f"_xsrf={'0' * 32}", "X-Forwarded-For": f"10.1.{number // 250}.{number % 250 + 1}"},
            ),
            raise_error=False,
        )  # fmt: skip
        found = SimpleCookie()
        for line in answer.headers.get_list("Set-Cookie"):
            found.load(line)
        if answer.code not in (302, 303) or "cyberlab" not in found:
            raise NoPicture(f"{student.name} could not sign in: {answer.code}")
        student.cookie = found["cyberlab"].value

    try:
        await asyncio.gather(*(one(number, student) for number, student in enumerate(students)))
    finally:
        client.close()


class Browser:
    """One student's page and its websocket."""

    def __init__(self, port: int, student: Student) -> None:
        self._port = port
        self._student = student
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._screen = bytearray()  # RFB that has come and not been read

    async def lesson(self, at: float, over: asyncio.Event) -> None:
        """Click at ``at``, wait for the picture, look at it until the lesson is over."""
        student = self._student
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        student.clicked = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._page()
                await self._upgrade()
                await self._picture()
            student.picture = time.monotonic()
        except TimeoutError:
            student.error = f"no picture within {PATIENCE:.0f} s"
        except (NoPicture, OSError, EOFError) as error:
            student.error = str(error) or type(error).__name__
        if student.picture:
            await self._stay(over)
        if hasattr(self, "_writer"):
            self._writer.transport.abort()

    async def _stay(self, over: asyncio.Event) -> None:
        ended, looking = asyncio.create_task(over.wait()), asyncio.create_task(self._look())
        await asyncio.wait([ended, looking], return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            self._student.lost = str(looking.exception()) or type(looking.exception()).__name__
        for task in (ended, looking):
            task.cancel()
        await asyncio.gather(ended, looking, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            await self._frame()
            self._screen.clear()

    # --- HTTP

    async def _ask(self, path: str, *headers: str) -> tuple[int, dict[str, str]]:
        lines = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"Cookie: cyberlab={self._student.cookie}",
            "Accept-Language: en", *headers,
        ]  # fmt: skip
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in head[1:])
        return int(head[0].split()[1]), {name.lower(): value.strip() for name, _, value in fields}

    async def _page(self) -> None:
        """The page itself; what it loads besides, a browser has kept from the last lesson."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        status, headers = await self._ask(f"/student/console/{self._student.vm_id}", "Accept: text/html")
        await self._reader.readexactly(int(headers.get("content-length", 0)))
        if status != 200:
            raise NoPicture(f"the page: {status}")

    async def _upgrade(self) -> None:
        status, _ = await self._ask(
            f"/vnc-proxy/ws/{self._student.vm_id}",
            f"Origin: http://127.0.0.1:{self._port}", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: cyberlab.events",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        )  # fmt: skip
        if status != 101:
            raise NoPicture(f"the websocket: {status}")

    # --- websocket (RFC 6455) and RFB (RFC 6143)

    async def _frame(self) -> None:
        """One more frame: bytes of the screen, an event, a ping, the end."""
        kind, size = await self._reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self._reader.readexactly(8), "big")
        body = await self._reader.readexactly(size)
        kind &= 15
        if kind == _TEXT:
            self._event(json.loads(body))
        elif kind == _PING:
            self._send(body, _PONG)
        elif kind == _CLOSE:
            raise NoPicture(f"closed: {int.from_bytes(body[:2], 'big')} {body[2:].decode(errors='replace')}")
        elif kind != _PONG:
            self._screen += body

    def _event(self, event: dict[str, str]) -> None:
        if event.get("event") == "end":
            raise NoPicture(event["code"])
        text = event.get("text", "")
        if "in line" in text:
            number = re.search(r"number (\d+)", text)
            self._student.places.append(int(number[1]) if number else 1)

    def _send(self, payload: bytes, kind: int = _BINARY) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[place & 3] for place, byte in enumerate(payload))
        self._writer.write(bytes((0x80 | kind, 0x80 | len(payload))) + mask + masked)

    async def _read(self, size: int) -> bytes:
        while len(self._screen) < size:
            await self._frame()
        data = bytes(self._screen[:size])
        del self._screen[:size]
        return data

    async def _picture(self) -> None:
        """The handshake, and all of the first FramebufferUpdate: raw, 32 bits a pixel."""
        self._send(await self._read(12))
        types = await self._read((await self._read(1))[0])
        if 1 not in types:
            raise NoPicture(f"security types {list(types)}")
        self._send(b"\1")
        if await self._read(4) != bytes(4):
            raise NoPicture("the portal refused security type None")
        self._send(b"\1")
        width, height, bits, _, name = struct.unpack(">HHB15sI", await self._read(24))
        await self._read(name)
        self._send(struct.pack(">BxHi", 2, 1, 0) + struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        if (kind := (await self._read(1))[0]) != 0:
            raise NoPicture(f"message {kind} instead of a picture")
        for _ in range(struct.unpack(">xH", await self._read(3))[0]):
            _, _, part_width, part_height, _ = struct.unpack(">HHHHi", await self._read(12))
            await self._read(part_width * part_height * bits // 8)
