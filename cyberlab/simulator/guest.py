"""What a simulated guest can do, whether QEMU runs it or its screen is only drawn."""

from __future__ import annotations

import asyncio
from typing import Protocol

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# How much is read at once between a guest and a websocket: pveproxy's frames carry up to 128 KiB.
CHUNK = 128 * 1024
CLOSE_TIMEOUT = 1.0


class GuestOff(Exception):
    """The guest is not running: nobody answers at its monitor or its screen."""


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection: what was written goes out if the other end reads it within a second."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), CLOSE_TIMEOUT)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.transport.abort()


class Guest(Protocol):
    """A machine with a screen that speaks RFB with VNC authentication."""

    @property
    def running(self) -> bool:
        """Whether the power is on."""
        ...

    async def start(self) -> None:
        """Switch on; returns when the screen can be reached. Nothing happens when it is on already."""
        ...

    async def stop(self) -> None:
        """Switch off: every viewer's connection ends."""
        ...

    async def reset(self) -> None:
        """Press the reset button; viewers stay connected. Raises GuestOff."""
        ...

    async def set_password(self, password: str, lifetime: float) -> None:
        """Set the VNC password of the whole VM, for ``lifetime`` seconds. Raises GuestOff."""
        ...

    async def connect(self) -> Streams:
        """A new viewer's connection, RFB from the first byte. Raises GuestOff."""
        ...
