"""Where a console's two sockets get their transports: aiofastnet's, or asyncio's own where that is missing.

Both call the same protocol methods. aiofastnet reads TLS straight from OpenSSL into the protocol's buffer and keeps
little memory for an idle connection; asyncio's TLS keeps 256 KiB.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

try:
    import aiofastnet
    import aiofastnet.constants
except ImportError:  # there is no wheel for this platform
    FAST = False
else:
    FAST = True
if FAST:
    # A turn ends when the protocol's buffer is full (fairness.SIZE), or after as much as this of smaller pieces.
    aiofastnet.constants.MAX_READ_BYTES_PER_CYCLE_HINT = 64 * 1024

# Has aiofastnet let OpenSSL read from the socket itself, with buffers that it frees when a record is done. Buffers of
# aiofastnet's own are 48 KiB a console, idle or not, and every byte is copied once more.
_SOCKET_BIO = "_aiofastnet_force_socket_bio"
_MOMENT = 0.002  # seconds; while a console streams, one timer as often as that costs nothing

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def connect(
    protocol: Callable[[], P], host: str, port: int, context: ssl.SSLContext | None, server_name: str | None
) -> P:
    """Connect over TLS (or plain TCP where ``context`` is None); raise OSError, ssl.SSLError.

    The caller sets the deadline.
    """
    loop = asyncio.get_running_loop()
    name = server_name if context is not None else None
    if FAST:
        if context is not None:
            setattr(context, _SOCKET_BIO, True)
        _, connected = await aiofastnet.create_connection(
            loop, protocol, host, port, ssl=context, server_hostname=name,
            ssl_shutdown_timeout=2 if context else None,
        )  # fmt: skip
    else:
        _, connected = await loop.create_connection(
            protocol, host, port, ssl=context, server_hostname=name, ssl_shutdown_timeout=2 if context else None
        )
    assert connected is not None
    return connected


async def adopt(protocol: Callable[[], P], sock: socket.socket) -> P:
    """Give a connected plain socket a transport; it is closed with the transport from now on."""
    loop = asyncio.get_running_loop()
    if FAST:
        _, adopted = await aiofastnet.connect_accepted_socket(loop, protocol, sock)
    else:
        _, adopted = await loop.connect_accepted_socket(protocol, sock)
    return adopted


class Remainder:
    """Has the rest of a TLS record read when a turn ended in the middle of it.

    OpenSSL decrypts a record whole, and no selector knows of what it then holds back. As a rule more comes and takes
    that along; this looks, a moment later, whether it did, and never makes two turns of one.
    """

    __slots__ = ("_looking", "_loop", "_pending", "_transport", "_turns")

    def __init__(self, transport: Any) -> None:
        """``transport``: any; there is something to do for aiofastnet's over TLS."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        engine = transport.get_extra_info("ssl_object") if FAST else None
        self._pending = engine.pending if engine is not None else None
        self._turns = 0
        self._looking = False

    def turn_ended(self) -> None:
        """The protocol's buffer was filled to its end."""
        self._turns += 1
        if not self._looking and self._pending is not None and self._pending():
            self._looking = True
            self._loop.call_later(_MOMENT, self._look, self._turns)

    def _look(self, turns: int) -> None:
        if turns != self._turns:
            self._loop.call_later(_MOMENT, self._look, self._turns)
        else:
            self._looking = False
            self._transport._retry_ssl_read()  # does nothing while paused: resuming reads by itself


def lasting(view: memoryview) -> memoryview | bytes:
    """The bytes in a form that the transport may keep: asyncio's keeps views, and our buffer is used again."""
    return view if FAST else bytes(view)
