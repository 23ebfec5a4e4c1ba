"""The worker behind ``vncproxy``: a port that accepts once, within ten seconds, then ``qm vncproxy`` or termproxy.

The ports are slots in this process, not sockets: they behave the same towards the web port, and two simulated nodes on
one machine do not fight over 5900.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cyberlab.simulator.cpu import Cpu
from cyberlab.simulator.guest import Guest, GuestOff, Streams
from cyberlab.simulator.options import Options
from cyberlab.simulator.refusal import Refusal
from cyberlab.simulator.state import ClusterState, Vm
from cyberlab.simulator.tasks import Task, Tasks
from cyberlab.simulator.termproxy import Terminals


@dataclass(slots=True)
class Slot:
    """A listening worker: ``password`` is empty for a terminal."""

    vm: Vm
    port: int
    task: Task
    password: str
    timer: asyncio.TimerHandle
    line: str = ""  # USER:TICKET, the one that a terminal's worker lets in; empty: any that holds
    failure: str = ""  # the task's status where the worker itself has failed

    def failed(self, status: str) -> None:
        """The worker has ended badly."""
        self.failure = status


class Consoles:
    """The console ports of the node where pvesh ran."""

    def __init__(
        self,
        state: ClusterState,
        here: str,
        options: Options,
        tasks: Tasks,
        guests: dict[int, Guest],
        terminals: Terminals,
        cpus: Mapping[str, Cpu],
    ) -> None:
        """``here``: the node that listens; ``cpus``: of all nodes."""
        self._state = state
        self._terminals = terminals
        self._cpus = cpus
        self._cpu = cpus[here]
        self.here = here
        self._options = options
        self._tasks = tasks
        self._guests = guests
        self._slots: dict[int, Slot] = {}
        self._reserved: dict[int, float] = {}

    @property
    def listening(self) -> list[int]:
        """The ports that still wait for their one connection."""
        return sorted(self._slots)

    def listen(self, vm: Vm, user: str, password: str) -> tuple[int, Task]:
        """Take a port from 5900 on and wait there for one connection (Qemu.pm vncproxy)."""
        port = self._next_port()
        task = self._tasks.begin(self.here, "vncproxy", str(vm.vmid), user)
        timer = asyncio.get_running_loop().call_later(self._options.accept_window, self._expire, port)
        self._slots[port] = Slot(vm, port, task, password, timer)
        return port, task

    def pin(self, port: int, line: str) -> None:
        """A terminal's worker is told its ticket, and takes no other (termproxy 2.1.0, --ticket-fd)."""
        self._slots[port].line = line

    def _next_port(self) -> int:
        """PVE::Tools next_unused_port: a port stays reserved for 5 s after it was handed out."""
        now = time.monotonic()
        for port in range(self._options.first_port, self._options.last_port + 1):
            if port not in self._slots and self._reserved.get(port, 0.0) <= now:
                self._reserved[port] = now + self._options.port_reservation
                return port
        raise Refusal("unable to find free port (5900-6000)")

    def _expire(self, port: int) -> None:
        slot = self._slots.pop(port)
        self._tasks.end(slot.task, "connection timed out")

    def accept(self, port: int) -> Slot | None:
        """Connect to that port: the slot is used up. None: nobody listens (connection refused)."""
        slot = self._slots.pop(port, None)
        if slot is not None:
            slot.timer.cancel()
        return slot

    async def attach(self, slot: Slot) -> Streams | None:
        """What ``qm vncproxy`` does after the accept: set the VM's password, connect; None when the VM is off."""
        node = self._state.nodes.get(slot.vm.node)
        if node is not None and not node.online:
            await asyncio.sleep(self._options.offline_hang)  # it goes there by ssh, which has no timeout of its own
            return None
        if not slot.password:
            return await self._terminals.connect(slot.vm, slot.port, slot.line, slot.failed)
        guest = self._guests.get(slot.vm.vmid)
        if guest is None or not slot.vm.running:
            return None
        await self._cpu.work("qm vncproxy", self._options.vncproxy_cpu)
        await asyncio.sleep(self._options.vncproxy_start)
        with contextlib.suppress(GuestOff):
            await guest.set_password(slot.password[:8], self._options.password_lifetime)
            return await guest.connect()
        return None

    def powered(self, slot: Slot) -> list[asyncio.Event]:
        """Whether this node and the guest's have power."""
        return [self._cpus[name].powered for name in {self.here, slot.vm.node} if name in self._cpus]

    def end(self, slot: Slot, status: str = "OK") -> None:
        """The worker has ended."""
        self._tasks.end(slot.task, slot.failure or status)

    async def close(self) -> None:
        """Stop listening everywhere."""
        for slot in self._slots.values():
            slot.timer.cancel()
        self._slots.clear()
