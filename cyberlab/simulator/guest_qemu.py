"""A guest in a real QEMU, started and asked for its screen as Proxmox does it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from cyberlab.simulator.bootsector import attribute, boot_sector
from cyberlab.simulator.guest import CHUNK, GuestOff, Streams

PROGRAM = "qemu-system-x86_64"
START_TIMEOUT = 20.0
QMP_TIMEOUT = 5.0
STOP_TIMEOUT = 3.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def available() -> bool:
    """Whether QEMU is installed."""
    return shutil.which(PROGRAM) is not None


def _die_with_parent() -> None:
    """In the child: be killed when the simulator is, however it ends (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class QemuGuest:
    """One QEMU process; its VNC server and its monitor listen on unix sockets in ``folder``."""

    def __init__(self, vmid: int, name: str, folder: Path, on_exit: Callable[[int], None] = lambda vmid: None) -> None:
        """``folder``: a short path, for unix sockets; ``on_exit`` hears of a process that ended by itself."""
        self._vmid = vmid
        self._name = name
        self._disk = folder / f"{vmid}.img"
        self._vnc = folder / f"{vmid}.vnc"
        self._qmp = folder / f"{vmid}.qmp"
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._power = asyncio.Lock()
        self._monitor = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process, for tests."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the process, wait for its monitor."""
        async with self._power:
            if self.running:
                return
            for path in (self._vnc, self._qmp):
                path.unlink(missing_ok=True)
            self._disk.write_bytes(boot_sector(self._name, attribute(self._vmid)))
            self._process = await asyncio.create_subprocess_exec(
                PROGRAM,
                *self._arguments(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                preexec_fn=_die_with_parent,  # one system call, through a library that is loaded already
            )
            self._watch = asyncio.create_task(self._wait(self._process), name=f"qemu {self._vmid}")
            await self._listening(self._process)

    def _arguments(self) -> list[str]:
        return [
            "-nodefaults",
            "-no-user-config",
            *("-name", f"cyberlab-{self._vmid}"),
            *("-machine", "pc"),
            *("-accel", "tcg"),
            *("-m", "16"),
            *("-vga", "std"),
            *("-drive", f"file={self._disk},format=raw,if=ide"),
            *("-vnc", f"unix:{self._vnc},password=on"),
            *("-qmp", f"unix:{self._qmp},server=on,wait=off"),
        ]

    async def _listening(self, process: asyncio.subprocess.Process) -> None:
        """QEMU tells nobody that it listens: look for both sockets."""
        async with asyncio.timeout(START_TIMEOUT):
            while process.returncode is None:
                if self._vnc.exists() and self._qmp.exists():
                    return
                await asyncio.sleep(0.02)
        raise GuestOff(f"QEMU of {self._vmid} ended at its start")

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._on_exit(self._vmid)

    async def stop(self) -> None:
        """End the process, hard if it must be."""
        async with self._power:
            process, watch = self._process, self._watch
            if process is None or watch is None:
                return
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
            except TimeoutError:
                process.kill()
                await process.wait()
            await watch
            self._process = self._watch = None

    async def reset(self) -> None:
        """QMP system_reset."""
        await self._command("system_reset")

    async def set_password(self, password: str, lifetime: float) -> None:
        """As ``qm vncproxy`` (PVE/CLI/qm.pm:363): set_password, then expire_password."""
        await self._command("set_password", protocol="vnc", password=password)
        await self._command("expire_password", protocol="vnc", time=f"+{max(1, round(lifetime))}")

    async def connect(self) -> Streams:
        """A connection to QEMU's VNC server."""
        async with self._power:  # a start in progress comes first
            if not self.running:
                raise GuestOff(f"{self._vmid} is not running")
        try:
            return await asyncio.open_unix_connection(str(self._vnc), limit=CHUNK)
        except OSError as error:
            raise GuestOff(str(error)) from None

    async def _command(self, execute: str, **arguments: str) -> None:
        """One QMP command on a connection of its own: QEMU serves one monitor client at a time."""
        async with self._power:
            if not self.running:
                raise GuestOff(f"{self._vmid} is not running")
        try:
            async with self._monitor, asyncio.timeout(QMP_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(str(self._qmp))
                try:
                    await reader.readline()  # the greeting
                    await _ask(reader, writer, {"execute": "qmp_capabilities"})
                    await _ask(reader, writer, {"execute": execute, "arguments": arguments})
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise GuestOff(f"no monitor: {error}") from None


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: dict[str, object]) -> None:
    """Send a command and read up to its answer; events in between are nobody's."""
    writer.write(json.dumps(command).encode() + b"\n")
    while True:
        line = await reader.readline()
        if not line:
            raise ConnectionError("the monitor closed")
        answer = json.loads(line)
        if "error" in answer:
            raise ConnectionError(answer["error"]["desc"])
        if "return" in answer:
            return
