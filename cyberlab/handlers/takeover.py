"""Takes a browser's socket over from Tornado once the 101 is out.

Tornado reads the request, checks it and answers the upgrade; from then on a console runs on a transport of its own
(cyberlab.console.transports), since Tornado's message loop carries 18 MB/s of small frames where the splice carries a
thousand. The private names used here are those of Tornado 6.6, and a test pins them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13, _WebSocketParams

_FLUSH_SECONDS = 5.0


class TakeoverProtocol(WebSocketProtocol13):
    """Does Tornado's handshake, then hands over the socket instead of reading frames."""

    def __init__(self, handler: WebSocketHandler, taken: Callable[[socket.socket, bytes], None]) -> None:
        """``taken`` gets the connected socket and the bytes that Tornado had read already, and owns both."""
        super().__init__(handler, False, _WebSocketParams())
        self._taken = taken

    async def _receive_frame_loop(self) -> None:
        stream = self.stream
        assert stream is not None
        self.stream = None  # type: ignore[assignment]  # what is left of Tornado must not close it
        try:
            sock, leftover = await take_socket(stream)
        except BaseException as error:
            stream.close()
            if isinstance(error, (StreamClosedError, TimeoutError)):
                return  # the browser has gone, or is as good as gone
            raise
        # Nothing of the request is needed any more; the console lives for hours.
        handler: Any = self.handler
        handler.ws_connection = None
        handler.close_code = None
        self._taken(sock, leftover)


async def take_socket(stream: IOStream) -> tuple[socket.socket, bytes]:
    """Take the socket out of an idle stream; return it and what had been read.

    Raises StreamClosedError when the browser has gone, TimeoutError when it does not take the answer, TypeError for
    a TLS stream, whose bytes pass through OpenSSL: TLS ends at the reverse proxy in front.
    """
    if isinstance(stream, SSLIOStream):
        raise TypeError("TLS towards the browser ends at the reverse proxy; a TLS stream cannot be taken over")
    if stream.writing():
        # The 101 is still on its way out. Not wait_for: cancelling a stream's future breaks the stream.
        flushed = asyncio.ensure_future(stream.write(b""))
        await asyncio.wait({flushed}, timeout=_FLUSH_SECONDS)
        if stream.writing():
            stream.close()
            raise TimeoutError("the answer to the upgrade could not be sent")
    if stream.closed():
        raise StreamClosedError
    leftover = bytes(stream._read_buffer)
    stream.set_close_callback(None)
    if stream._state is not None:
        stream.io_loop.remove_handler(stream.socket)
        stream._state = None
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.close()  # its own bookkeeping only: the descriptor is ours
    return sock, leftover
