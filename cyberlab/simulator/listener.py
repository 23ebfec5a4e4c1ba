"""A listening socket that hands on every connection; the SSH port and the web port both are one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


class Listener:
    """Accepts on one address of loopback until it is closed; may be opened again on the same port."""

    def __init__(self, name: str, backlog: int, accepted: Callable[[socket.socket], None]) -> None:
        """``accepted`` owns the socket from then on; it must not block."""
        self._name = name
        self._backlog = backlog
        self._accepted = accepted
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._fillers: list[socket.socket] = []
        self.host = ""
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; a port of 0 takes a free one. Raises OSError."""
        self._socket = socket.create_server((host, port), backlog=self._backlog)
        self._socket.setblocking(False)
        self.host, self.port = host, self._socket.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(self._socket), name=self._name)

    async def reopen(self) -> None:
        """Listen again after close(), on the same address and port. Raises OSError."""
        await self.start(self.host, self.port)

    async def close(self) -> None:
        """Stop listening; connections live on."""
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def stall(self) -> None:
        """Behave as a host without power: whoever connects waits until the kernel gives up."""
        if self._socket is None or self._fillers:
            return
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        # Linux drops a SYN for which the queue has no room: room for one, and that one is taken.
        self._socket.listen(0)
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._fillers.append(filler)

    def resume(self) -> None:
        """Accept again."""
        if self._socket is None or not self._fillers:
            return
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._socket.listen(self._backlog)
        self._accepting = asyncio.create_task(self._accept(self._socket), name=self._name)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:  # too many open files: later there may be fewer
                await asyncio.sleep(0.1)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted(connection)
