"""A console from the accepted websocket to its end, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from tests.console.conftest import console_bench
from tests.console.ends import SERVER_INIT, ProxmoxEnd

KEY = b"\x04\x01\0\0\0\0\0a"


async def echo(end: ProxmoxEnd) -> None:
    """Open, then send back whatever comes."""
    await end.open()
    while True:
        end.write(await end.read(8))
        await end.writer.drain()


@pytest.mark.gen_test(timeout=5)
async def test_a_keystroke_reaches_the_machine_and_its_answer_the_browser() -> None:
    async with console_bench(echo) as bench:
        browser = await bench.browser()
        assert await browser.handshake() == SERVER_INIT
        browser.send(KEY)
        assert await browser.payload() == KEY
        assert bench.proxmox.ends[0].client_init == b"\x01", "ClientInit is always shared"
        browser.close()
        await asyncio.wait_for(bench.rows.ended.wait(), 3)
    assert bench.rows.rows == [
        {"vm": "demo/100 kali", "to_client": len(SERVER_INIT) + 2 + 10, "to_upstream": 8, "reason": "closed"}
    ]
