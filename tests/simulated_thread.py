"""A simulated cluster on a loop and thread of its own, for tests that run a loop themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cyberlab.simulator.node import SimulatedCluster

_SECONDS = 30.0


@contextmanager
def running(cluster: SimulatedCluster) -> Iterator[SimulatedCluster]:
    """Started and booted within the block, closed behind it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated cluster")
    thread.start()

    async def start() -> None:
        await cluster.start()
        await cluster.booted()

    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(_SECONDS)
        try:
            yield cluster
        finally:
            asyncio.run_coroutine_threadsafe(cluster.close(), loop).result(_SECONDS)
    finally:
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
