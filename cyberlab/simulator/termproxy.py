"""The far end of a terminal: proxmox-termproxy (main.rs), and behind it a terminal that dtach shares.

Its rules decide how a client must behave: one line of authentication in time, silence and a close for a wrong one,
and a reader that forgets a message's header when the rest of it has not come yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from cyberlab.simulator.guest import CHUNK, Streams, hang_up
from cyberlab.simulator.options import Options
from cyberlab.simulator.shell import Shell
from cyberlab.simulator.state import ClusterState, Vm
from cyberlab.simulator.tickets import Tickets

FAILED = "command '/usr/bin/termproxy {port} --path /vms/{vmid} --perm VM.Console' failed: exit code 1"
_BUFFER = 4096  # proxmox_io::ByteBuffer
_DATA, _RESIZE = 0, 1
_SLOW = 8 * 1024 * 1024  # bytes that may wait for a viewer who does not read


@dataclass(frozen=True, slots=True)
class Resize:
    """The client's window."""

    columns: int
    rows: int


class Reader:
    """How process_queue and remove_number take the client's bytes apart.

    A header must lie in the buffer as a whole, or what has come of it is lost. Unknown types, the ping "2" among
    them, are passed over byte by byte.
    """

    def __init__(self, early: bytes = b"") -> None:
        """``early``: what came behind the line of authentication."""
        self._buffer = bytearray(early)
        self._remaining = 0  # bytes of input still to come

    @property
    def room(self) -> int:
        """How many bytes may come next."""
        return _BUFFER - len(self._buffer)

    def feed(self, data: bytes) -> list[bytes | Resize]:
        """What these bytes mean: input for the terminal, and sizes."""
        self._buffer += data
        events: list[bytes | Resize] = []
        while self._buffer and (self._remaining or self._header(events)):
            taken = bytes(self._buffer[: self._remaining])
            del self._buffer[: len(taken)]
            self._remaining -= len(taken)
            if taken:
                events.append(taken)
        return events

    def _header(self, events: list[bytes | Resize]) -> bool:
        """Go on to the next input; False when more must come first."""
        buffer = self._buffer
        while len(buffer) >= 2:
            kind = buffer[0] - ord("0")
            if kind == _DATA:
                del buffer[:2]
                size = self._number()
                if size is not None:
                    self._remaining = size
                    return True
            elif kind == _RESIZE:
                del buffer[:2]
                columns = self._number()
                rows = self._number() if columns is not None else None
                if columns is not None and rows is not None:
                    events.append(Resize(columns & 0xFFFF, rows & 0xFFFF))
            else:
                del buffer[:1]
        return False

    def _number(self) -> int | None:
        buffer = self._buffer
        while True:
            end = buffer.find(b":")
            if end < 0 and len(buffer) > 20:
                del buffer[:20]
                continue
            if end < 0:
                return None
            digits = bytes(buffer[:end])
            del buffer[: end + 1]
            return int(digits) if digits.isdigit() and len(digits) < 20 else None


class Terminal:
    """One guest's terminal, with everybody who looks at it."""

    def __init__(self, name: str) -> None:
        self._viewers: set[asyncio.StreamWriter] = set()
        self.shell = Shell(name, self._draw)

    def _draw(self, data: bytes) -> None:
        for viewer in list(self._viewers):
            if viewer.transport.get_write_buffer_size() > _SLOW:
                viewer.transport.abort()
            else:
                viewer.write(data)

    def attach(self, viewer: asyncio.StreamWriter) -> None:
        """One more looks."""
        self._viewers.add(viewer)
        self.shell.resize(80, 20)  # termproxy's pty begins with this size, and dtach passes it on
        self.shell.attach()

    def detach(self, viewer: asyncio.StreamWriter) -> None:
        """One less."""
        self._viewers.discard(viewer)

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def hang_up(self) -> None:
        """The guest is off: everybody's connection ends."""
        for viewer in list(self._viewers):
            viewer.transport.abort()


class Terminals:
    """All terminals of the cluster and the termproxy workers before them."""

    def __init__(self, state: ClusterState, options: Options, tickets: Tickets) -> None:
        self._state = state
        self._options = options
        self._tickets = tickets
        self.of: dict[int, Terminal] = {}  # by VMID, made when somebody looks
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, vm: Vm, port: int, line: str, failed: Callable[[str], None]) -> Streams:
        """The accepted connection to one worker; ``failed`` is told the task's status when it ends badly.

        ``line``: the one that it lets in; empty: any that holds.
        """
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=far, limit=CHUNK)
        task = asyncio.create_task(self._serve(vm, port, line, failed, (reader, writer)), name=f"termproxy {vm.vmid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.open_connection(sock=near, limit=CHUNK)

    async def _serve(
        self, vm: Vm, port: int, pinned: str, failed: Callable[[str], None], streams: Streams
    ) -> None:  # fmt: skip
        reader, writer = streams
        try:
            async with asyncio.timeout(self._options.terminal_sign_in):
                early = await self._admitted(vm, port, pinned, reader)
            if early is None:
                failed(FAILED.format(port=port, vmid=vm.vmid))
                return
            writer.write(b"OK")
            await asyncio.sleep(self._options.terminal_start)
            if not vm.running:
                writer.write(f"lxc-console: {vm.vmid} is not running\r\n".encode())
                return
            await self._relay(vm, Reader(early), streams)
        except TimeoutError:
            failed(FAILED.format(port=port, vmid=vm.vmid))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            await hang_up(writer)

    async def _admitted(self, vm: Vm, port: int, pinned: str, reader: asyncio.StreamReader) -> bytes | None:
        """Read ``USER:TICKET`` and a line feed; return what came behind it, None for a wrong one."""
        line = b""
        while b"\n" not in line:
            data = await reader.read(_BUFFER - len(line))
            if not data or len(line) + len(data) >= _BUFFER:
                return None
            line += data
        line, _, early = line.partition(b"\n")
        user, _, ticket = line.decode("utf-8", "replace").partition(":")
        path, bound = f"/vms/{vm.vmid}", port if self._options.hardened else None
        holder = self._state.users.get(user.partition("!")[0])
        # Older hosts checked by POST /access/ticket, which admits no API token.
        token = "!" in user and not self._options.hardened
        if token or holder is None or not holder.may(path, "VM.Console") or pinned not in ("", f"{user}:{ticket}"):
            known = False
        else:
            known = self._tickets.vnc_holds(ticket, user, path, bound)
        if not known:
            await asyncio.sleep(self._options.refusal_delay)
            return None
        return early

    async def _relay(self, vm: Vm, client: Reader, streams: Streams) -> None:
        reader, writer = streams
        terminal = self.of.setdefault(vm.vmid, Terminal(vm.name))
        terminal.attach(writer)
        data = b""
        try:
            while True:
                for event in client.feed(data):
                    if isinstance(event, Resize):
                        terminal.shell.resize(event.columns, event.rows)
                    else:
                        terminal.shell.type(event)
                data = await reader.read(client.room)
                if not data:
                    return
        finally:
            terminal.detach(writer)

    def hang_up(self, vmid: int) -> None:
        """A guest has stopped."""
        terminal = self.of.pop(vmid, None)
        if terminal is not None:
            terminal.hang_up()

    async def close(self) -> None:
        """End every worker."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
