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
        self.host = ""
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; a port of 0 takes a free one. Raises OSError."""
        self._socket = socket.create_server((host, port), backlog=self._backlog)
        self._socket.setblocking(False)
        self.host, self.port = host, self._socket.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(self._socket), name=self._name)

    async def close(self) -> None:
        """Stop listening; connections live on."""
        accepting, self._accepting = self._accepting, None
        if accepting is not None and self._socket is not None:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            self._socket.close()
            self._socket = None

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
