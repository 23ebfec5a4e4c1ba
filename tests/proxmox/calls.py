"""Shorthands for the tests of the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cyberlab.problems import Problem
from cyberlab.proxmox.command import CommandResult
from cyberlab.proxmox.ssh import SshPool
from tests.sshd import DEADLINE

UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


async def run(
    pool: SshPool, command: str, *, timeout: float = DEADLINE, idempotent: bool = False, subject: str = ""
) -> CommandResult:
    return await pool.run(command, timeout=timeout, idempotent=idempotent, subject=subject)


async def code_of(pool: SshPool, command: str, *, timeout: float = DEADLINE, idempotent: bool = False) -> str:
    with pytest.raises(Problem) as caught:
        await run(pool, command, timeout=timeout, idempotent=idempotent)
    return caught.value.code


async def until(condition: Callable[[], object]) -> None:
    """Wait for something outside of this process."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0
