"""All consoles of this process: begun in tasks that have an owner, opened in turns, ended in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from cyberlab import problems
from cyberlab.console import transports
from cyberlab.console.client import ClientLink
from cyberlab.console.registry import ConsoleRequest, Registry
from cyberlab.console.session import ConsoleLog, ConsoleSession, ConsoleSource, Limits
from cyberlab.console.wheel import Wheel


class Gateway:
    """What all consoles share: the registry, the wheel, and a turn per machine."""

    def __init__(self, registry: Registry, console_log: ConsoleLog, limits: Limits | None = None) -> None:
        """Nothing starts before the first console."""
        self.registry = registry
        self.log = console_log
        self.limits = limits or Limits()
        self.wheel = Wheel(self.limits.ping)
        self._turns: dict[int, asyncio.Lock] = {}
        self._waiting: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, client: ClientLink, request: ConsoleRequest, source: ConsoleSource) -> None:
        """Run a console in a task of the gateway's own; it ends with the browser's connection at the latest."""
        self._own(ConsoleSession(self, client, request, source).run())

    def take(self, sock: socket.socket, client: ClientLink, request: ConsoleRequest, source: ConsoleSource) -> None:
        """The same, on a socket that has been taken over from the web server."""

        async def adopt() -> None:
            await transports.adopt(lambda: client, sock)
            await ConsoleSession(self, client, request, source).run()

        self._own(adopt())

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def turn(self, vm_id: int) -> AsyncIterator[None]:
        """One at a time for each machine: the VNC password belongs to the VM, a second ticket voids the first's."""
        lock = self._turns.setdefault(vm_id, asyncio.Lock())
        self._waiting[vm_id] = self._waiting.get(vm_id, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[vm_id] -= 1
            if not self._waiting[vm_id]:
                del self._waiting[vm_id], self._turns[vm_id]

    async def close(self, grace: float) -> None:
        """End every console with a reason; drop those that have not gone after ``grace`` seconds."""
        self.registry.draining = True
        self.registry.end(problems.SHUTTING_DOWN, lambda request: True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        self.wheel.close()
