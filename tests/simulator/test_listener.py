"""A port that opens, closes and opens again."""

from __future__ import annotations

import asyncio
import socket

import pytest

from cyberlab.simulator.listener import Listener


@pytest.mark.gen_test
async def test_the_same_port_again() -> None:
    got: asyncio.Queue[socket.socket] = asyncio.Queue()
    listener = Listener("test", 4, got.put_nowait)
    await listener.start()
    port = listener.port
    for _ in range(2):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        accepted = await got.get()
        await listener.close()
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", port)
        accepted.send(b"still here")
        accepted.close()
        writer.close()
        await writer.wait_closed()
        await listener.start(port=port)
    await listener.close()


@pytest.mark.gen_test
async def test_another_address_with_the_same_port() -> None:
    first, second = (Listener("test", 4, socket.socket.close) for _ in range(2))
    await first.start("127.0.0.11")
    await second.start("127.0.0.12", first.port)
    assert (first.host, second.host, second.port) == ("127.0.0.11", "127.0.0.12", first.port)
    await first.close()
    await second.close()
