"""A web server in front of the portal that signs people in itself, as Shibboleth's service provider does.

``python -m tests.e2e.front PORT PORTAL`` listens on 127.0.0.1 and connects from 127.0.0.2. At the one address where
the portal believes it, everybody is "shibby"; the headers that say so are taken from whatever browsers send.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

ADDRESS = "127.0.0.2"  # what the portal sees
PROTECTED = b"/auth/sso/shib/start"
OURS = (b"x-remote-user", b"x-groups")
SAYS = [b"X-Remote-User: shibby", b"X-Groups: lab-users;course-netsec"]


async def _serve(portal: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        head = await reader.readuntil(b"\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", portal, local_addr=(ADDRESS, 0))
        back.write(_changed(head))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_pour(reader, back))
            tasks.create_task(_pour(there, writer))


def _changed(head: bytes) -> bytes:
    request, *lines = head.rstrip(b"\r\n").split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in OURS]
    if not any(line.lower().startswith(b"upgrade:") for line in kept):
        # One request a connection, so that no further head has to be looked for.
        kept = [line for line in kept if not line.lower().startswith(b"connection:")] + [b"Connection: close"]
    if request.split(b" ")[1].partition(b"?")[0] == PROTECTED:
        kept += SAYS
    return b"\r\n".join([request, *kept, b"", b""])


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(ConnectionError, RuntimeError):
        sink.close()


async def _main(port: int, portal: int) -> None:
    server = await asyncio.start_server(lambda reader, writer: _serve(portal, reader, writer), "127.0.0.1", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
