"""An echo endpoint on the very code that faces the browsers, for the Autobahn cases (test_autobahn.py).

With Autobahn's own suite at hand (autobahntestsuite 0.8.2, Python 2.7) it can be asked as well:

    python -m tests.console.echo 9001 &
    wstest -m fuzzingclient -s fuzzingclient.json    # its "url": "ws://127.0.0.1:9001/ws"
"""

from __future__ import annotations

import asyncio
import codecs
import socket
import sys

from tornado.web import Application
from tornado.websocket import WebSocketHandler

from cyberlab.console import frames, transports
from cyberlab.console.client import ClientLink
from cyberlab.console.frames import FrameError
from cyberlab.handlers.takeover import TakeoverProtocol


class EchoLink(ClientLink):
    """Sends every message back, text too; all else is ClientLink's."""

    def __init__(self, leftover: bytes = b"") -> None:
        super().__init__(leftover=leftover, max_frame=1 << 26)
        self._message = bytearray()
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def _data(self, event: frames.Data) -> None:
        if self.ending:
            return
        if event.opcode == frames.TEXT:
            try:
                self._utf8.decode(event.payload, event.last)
            except UnicodeDecodeError:
                raise FrameError(1007, "text is not UTF-8") from None
        self._message += event.payload
        if event.last:
            self.send(frames.server_frame(event.opcode, bytes(self._message)))
            self._message.clear()


class EchoHandler(WebSocketHandler):
    """Tornado's handshake, then the link."""

    def get_websocket_protocol(self) -> TakeoverProtocol:
        return TakeoverProtocol(self, self.taken)

    def taken(self, sock: socket.socket, leftover: bytes) -> None:
        async def adopt() -> None:
            await transports.adopt(lambda: EchoLink(leftover), sock)

        self.settings["tasks"].append(asyncio.ensure_future(adopt()))


async def main(port: int) -> None:
    """Serve until interrupted."""
    Application([("/ws", EchoHandler)], tasks=[]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
