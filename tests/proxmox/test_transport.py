"""What is said too late about a channel, to a real sshd: it ends the connection for a word about one it has closed."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import paramiko
import pytest

from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.transport import Transport
from tests.proxmox.calls import UNTIL_GO, lines, run, until
from tests.sshd import DEADLINE, Sshd

DATA, EOF = 94, 96


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Delays what is built for a channel until the channel has been closed: kinds of messages → how many were."""
    delayed: dict[int, int] = {}
    send = paramiko.Transport._send_user_message  # type: ignore[attr-defined]

    def held_up(self: Transport, message: Any) -> None:
        kind, about = message.asbytes()[0], int.from_bytes(message.asbytes()[1:5], "big")
        if kind in delayed and threading.current_thread() is not self:
            deadline = time.monotonic() + DEADLINE
            while self._has(about) and time.monotonic() < deadline:
                time.sleep(0.002)
            delayed[kind] += 1
        send(self, message)

    monkeypatch.setattr(Transport, "_send_user_message", held_up, raising=False)
    return delayed


@pytest.mark.gen_test
async def test_a_command_that_ends_at_once_takes_no_other_along(
    pool: SshPool, sshd: Sshd, late: dict[int, int]
) -> None:
    longer = asyncio.ensure_future(run(pool, f"echo >> begun; {UNTIL_GO}; echo done"))
    await until(lambda: lines(sshd.folder / "begun"))
    late[EOF] = 0
    assert (await run(pool, "echo short")).stdout == "short\n"
    assert late[EOF] == 1
    (sshd.folder / "go").touch()
    assert (await longer).stdout == "done\n"
    assert len(sshd.connections()) == 1
    assert "Disconnecting" not in (sshd.folder / "log").read_text()


@pytest.mark.gen_test
async def test_nor_does_one_that_is_spoken_with(pool: SshPool, sshd: Sshd, late: dict[int, int]) -> None:
    longer = asyncio.ensure_future(run(pool, f"echo >> begun; {UNTIL_GO}; echo done"))
    await until(lambda: lines(sshd.folder / "begun"))
    lasting = await pool.begin("while [ ! -e end ]; do sleep 0.02; done", timeout=DEADLINE)
    late[DATA] = 0
    sending = asyncio.ensure_future(asyncio.to_thread(lasting.send, b"too late\n", DEADLINE))
    (sshd.folder / "end").touch()
    await sending
    assert late[DATA] == 1
    assert await asyncio.to_thread(lasting.receive) == b""
    await asyncio.to_thread(lasting.close)
    (sshd.folder / "go").touch()
    assert (await longer).stdout == "done\n"
    assert "Disconnecting" not in (sshd.folder / "log").read_text()
