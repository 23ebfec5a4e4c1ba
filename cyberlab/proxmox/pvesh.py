"""`pvesh` commands and what they answer (PVE/CLI/pvesh.pm, PVE/RESTEnvironment.pm; docs/proxmox-cluster.md).

Its habits decide this module: the answer is the last line of stdout, below a task's whole log; an exit status of zero
says nothing about a task; words on stderr say nothing about failure.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.answers import (
    ConsoleTicket,
    console_ticket,
    object_of,
    vm_path,
)
from cyberlab.proxmox.calls import Api
from cyberlab.proxmox.command import CommandResult
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.trouble import meaning, said
from cyberlab.proxmox.warm import WarmPvesh, command_line

log = logging.getLogger(__name__)


class Pvesh(Api):
    """Calls of one cluster's API through `pvesh` on one of its nodes."""

    def __init__(self, ssh: SshPool, warm: WarmPvesh, timeout: float) -> None:
        """``warm``: over ``ssh``; ``timeout``: seconds for a call."""
        self._ssh = ssh
        self._warm = warm
        self._timeout = timeout

    async def call(
        self, verb: str, path: str, parameters: dict[str, str] | None = None, *, subject: str = "",
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Run one pvesh command and return its answer, None for an empty one; raise Problem.

        ``verb``: get, set, create or delete. ``subject``: the node that the call is about. ``timeout``: seconds.
        """
        words = arguments(verb, path, parameters or {})
        # A port that nobody comes to closes by itself: such a call may be repeated.
        idempotent = verb == "get" or path.endswith("proxy")
        result = await self._warm.run(words, timeout=timeout or self._timeout, idempotent=idempotent, subject=subject)
        return answer(result)

    async def vncproxy(self, node: str, kind: str, vmid: int) -> ConsoleTicket:
        """Open a console's port (PVE/API2/Qemu.pm, vncproxy). Containers cannot: their call never returns in time."""
        if kind != "qemu":
            raise Problem(problems.VM_KIND_UNSUPPORTED, f"{kind}/{vmid}")
        # Without websocket=1 QEMU would listen on all interfaces.
        row = object_of(
            await self.call("create", f"{vm_path(node, kind, vmid)}/vncproxy", {"websocket": "1"}, subject=node)
        )
        return console_ticket(row)

    async def detach(self, path: str, parameters: dict[str, str], *, subject: str) -> None:
        """Start a command that outlives its channel, and hear no more of it; raise Problem if not even that works.

        With its channel open, pvesh waits for the task; with the channel closed under it, pvesh kills the task at its
        next line of output (PVE/RESTEnvironment.pm, fork_worker). So it gets a session of its own, and no streams.
        """
        line = f"setsid -f {command_line(arguments('create', path, parameters))} >/dev/null 2>&1 </dev/null"
        result = await self._ssh.run(line, timeout=self._timeout, idempotent=False, subject=subject)
        if result.exit != 0:
            raise failure(result.exit, result.stderr)

    async def probe(self) -> None:
        """Whether an SSH connection can be had."""
        await self._ssh.probe()


def answer(result: CommandResult) -> Any:
    """What a finished command answered; raise Problem for a failure or for what is not JSON."""
    if result.exit != 0:
        raise failure(result.exit, result.stderr)
    if result.stderr.strip():
        log.debug("pvesh warned: %s", said(result.stderr))
    # Not splitlines(): JSON may hold U+2028 and its like unescaped.
    lines = [line for line in result.stdout.split("\n") if line.strip()]
    if not lines:
        return None  # calls of return type null print nothing
    try:
        return json.loads(lines[-1])
    except ValueError:
        raise Problem(problems.PVESH_FAILED, "the last line of the answer is not JSON") from None


def arguments(verb: str, path: str, parameters: dict[str, str]) -> list[str]:
    """What comes behind ``pvesh``: a word for each parameter, so that a value which begins with a dash is no option."""
    return [verb, path, *(f"--{name}={value}" for name, value in parameters.items()), "--output-format", "json"]


def failure(exit_status: int, stderr: str) -> Problem:
    """The problem behind a non-zero exit; its detail is what pvesh said first, without anything secret."""
    usual = problems.PVESH_MISSING if exit_status in (126, 127) else problems.PVESH_FAILED
    return Problem(meaning(stderr, usual), f"exit {exit_status}: {said(stderr)}")
