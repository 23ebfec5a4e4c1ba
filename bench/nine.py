"""Nine o'clock: a class of students opens its consoles within seconds, on a simulated cluster with real costs.

    PYTHONPATH=. .venv/bin/python bench/nine.py [--students 200] [--seconds 10] [--nodes 4] [--cores 4] [--restart]

The portal, the cluster and the students are a process each; everything between them is real (HTTPS, SSH, websockets,
RFB). What Proxmox's programs would take of the nodes' processors passes as time and is counted there
(cyberlab/simulator/cpu.py): 0.57 CPU-seconds for a pvesh, 0.045 for a warm one, 0.04 for a call over HTTPS. A student
has a picture when the first rectangle of it has come. ``--restart``: in the middle of it every node's sshd restarts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from cyberlab.db import logins, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, Role, Vm

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = "lab"
FIRST_VMID = 100  # of the simulated classroom
PATIENCE = 60.0  # seconds; then a student has given up
ACTOR = Actor(None, "bench")
WAYS = {
    "pvesh": "warm_workers = 0\n",
    "warm": "",
    "https": 'source = "https"\n',
    "console user": 'console_user = "console@pve"\n',
}


@dataclass
class Result:
    """What became of one rush."""

    waited: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    cpu: dict[str, float] = field(default_factory=dict)  # CPU-seconds of all nodes, by kind of work
    connections: int = 0  # SSH connections of the node that had the most

    def line(self, name: str, students: int) -> str:
        waited = sorted(self.waited) or [0.0]
        at = lambda share: waited[min(len(waited) - 1, int(share * len(waited)))]  # noqa: E731
        console = sum(seconds for kind, seconds in self.cpu.items() if kind != "qm vncproxy") / students
        relay = self.cpu.get("qm vncproxy", 0.0) / students
        errors = "; ".join(f"{count} × {what}" for what, count in self.errors.most_common(3)) or "none"
        return (
            f"| {name} | {at(0.5):.2f} s | {at(0.95):.2f} s | {waited[-1]:.2f} s | {console:.3f} s | {relay:.3f} s "
            f"| {self.connections} | {errors} |"
        )


@asynccontextmanager
async def child(*words: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of ours; ended by SIGTERM."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=ROOT, env=kept | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        limit=2**22,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def line_of(process: asyncio.subprocess.Process) -> str:
    """The next line of its stdout."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()


async def listening(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until somebody takes connections there."""
    async with asyncio.timeout(PATIENCE):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
    raise RuntimeError("the portal ended early")


def fill(url: str, vms: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """A student for each machine, signed in: the machine's id and the login session's token."""
    database = Database(url)
    database.upgrade()
    found = []
    with database.transaction() as s:
        for number, vm in enumerate(vms):
            user = users.create(s, ACTOR, username=f"student{number}", role=Role.STUDENT, password_hash="")
            row = Vm(cluster=CLUSTER, vmid=vm["vmid"], node=vm["node"], name=vm["name"])
            s.add(row)
            s.flush()
            s.add(Assignment(vm_id=row.id, user_id=user.id))
            found.append((row.id, logins.create(s, user.id, address="", user_agent="", lifetime=3600.0)))
    database.close()
    return found


class Student:
    """One who opens a console and looks."""

    def __init__(self, port: int, vm: int, token: str) -> None:
        headers = {"Cookie": f"cyberlab={token}", "Origin": f"http://127.0.0.1:{port}"}
        url = f"ws://127.0.0.1:{port}/vnc-proxy/ws/{vm}"
        self._request = HTTPRequest(url, headers=headers, connect_timeout=PATIENCE)
        self._socket: WebSocketClientConnection
        self._buffer = b""

    async def look(self) -> None:
        """From the click to the picture; raises EOFError with the reason when the portal ends it."""
        self._socket = await websocket_connect(self._request, subprotocols=["binary"])
        assert await self._read(12) == b"RFB 003.008\n"
        await self._send(b"RFB 003.008\n")
        assert await self._read(2) == b"\x01\x01"
        await self._send(b"\x01")
        assert await self._read(4) == b"\0\0\0\0"
        await self._send(b"\x01")
        server = await self._read(24)
        await self._read(struct.unpack(">I", server[20:])[0])
        await self._send(struct.pack(">BxHi", 2, 1, 0))
        await self._send(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 16))
        await self._read(16 + 640 * 16)

    async def _send(self, data: bytes) -> None:
        await self._socket.write_message(data, binary=True)

    async def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            message = await self._socket.read_message()
            if message is None:
                raise EOFError(self._socket.close_reason or "closed")
            assert isinstance(message, bytes)
            self._buffer += message
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    async def alive(self) -> bool:
        """Whether the console still answers."""
        self._buffer = b""
        try:
            async with asyncio.timeout(5):
                await self._send(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 16))
                await self._read(16)
        except (EOFError, TimeoutError, OSError):
            return False
        return True

    def leave(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()


async def come(student: Student, after: float, result: Result) -> None:
    await asyncio.sleep(after)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            await student.look()
    except Exception as error:
        result.errors[f"{type(error).__name__}: {error}"[:60]] += 1
    else:
        result.waited.append(time.monotonic() - begun)


async def rush(way: str, options: argparse.Namespace, folder: Path) -> Result:
    """One nine o'clock."""
    result = Result()
    simulator = [
        *("-m", "cyberlab.simulator", "--state", str(folder / "cluster"), "--no-qemu", "--with-parent"),
        *("--name", CLUSTER, "--nodes", str(options.nodes), "--address", "127.0.0.41"),
        *("--machines", str(options.students), "--cores", str(options.cores)),
    ]
    async with child(*simulator) as cluster:
        ready = json.loads(await line_of(cluster))
        head, _, nodes = ready["clusters_toml"].partition("\n\n")
        (folder / "clusters.toml").write_text(f"{head}\n{WAYS[way]}\n{nodes}")
        url = f"sqlite:///{folder / (way.replace(' ', '') + '.sqlite3')}"
        people = fill(url, ready["vms"])
        environment = {
            "LISTEN_PORT": str(options.port), "PUBLIC_URL": f"http://127.0.0.1:{options.port}", "LOG_LEVEL": "WARNING",
            "SECRET_KEY": secrets.token_urlsafe(48), "DATABASE_URL": url,
            "CLUSTERS_CONFIG": str(folder / "clusters.toml"),
        }  # fmt: skip
        async with child("server.py", "serve", **environment) as portal:
            await listening(portal, options.port)
            students = [Student(options.port, vm, token) for vm, token in people]
            coming = [asyncio.create_task(come(one, random.uniform(0, options.seconds), result)) for one in students]
            if options.restart:
                await asyncio.sleep(options.seconds / 2)
                cluster.send_signal(signal.SIGUSR2)
            await asyncio.gather(*coming)
            if options.restart:
                alive = await asyncio.gather(*(one.alive() for one in students))
                result.errors["console lost"] += alive.count(False) - sum(result.errors.values())
                result.errors = +result.errors
            cluster.send_signal(signal.SIGUSR1)
            told = json.loads(await line_of(cluster))
            for used in told["cpu"].values():
                for kind, seconds in used.items():
                    result.cpu[kind] = result.cpu.get(kind, 0.0) + seconds
            result.connections = max(told["ssh"].values())
            for one in students:
                one.leave()
    return result


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0, help="within which they come")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cores", type=float, default=4.0, help="of each node")
    parser.add_argument("--port", type=int, default=8095, help="of the portal")
    parser.add_argument("--only", choices=WAYS, action="append")
    parser.add_argument("--restart", action="store_true", help="of every node's sshd, in the middle")
    options = parser.parse_args()
    print("| Way | Half have a picture within | 95 % | all | CPU a console | and `qm vncproxy` | SSH | Errors |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for way in options.only or WAYS:
        with tempfile.TemporaryDirectory(prefix="nine-") as folder:
            result = await rush(way, options, Path(folder))
        print(result.line(way, options.students), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
