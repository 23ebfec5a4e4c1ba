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
    # How much one TLS connection may read before the others have their turn. A keystroke waits at most this long
    # for each console that streams; aiofastnet's own 256 KiB makes it wait four times as long.
    aiofastnet.constants.MAX_READ_BYTES_PER_CYCLE_HINT = 64 * 1024

_TLS_RECORD = 16 * 1024 + 64  # a full TLS record and its header
_INCOMING = 2 * _TLS_RECORD
_OUTGOING = _TLS_RECORD

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
        sizes: dict[str, Any] = {}
        if context is not None:
            sizes = {"ssl_incoming_bio_size": _INCOMING, "ssl_outgoing_bio_size": _OUTGOING, "ssl_shutdown_timeout": 2}
        _, connected = await aiofastnet.create_connection(
            loop, protocol, host, port, ssl=context, server_hostname=name, **sizes
        )
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


def lasting(view: memoryview) -> memoryview | bytes:
    """The bytes in a form that the transport may keep: asyncio's keeps views, and our buffer is used again."""
    return view if FAST else bytes(view)
