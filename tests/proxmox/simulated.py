"""Shorthands for tests against the simulated cluster."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from cyberlab.console import vnc
from cyberlab.console.terminal import TERMINAL
from cyberlab.console.upstream import Target, dial
from cyberlab.db.models import Vm, VmKind
from cyberlab.handlers.vm_source import VmSource
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Cluster
from cyberlab.settings import ClusterSettings


def settings_of(environment: dict[str, str], **changes: object) -> ClusterSettings:
    values: dict[str, Any] = {name.removeprefix("PROXMOX_").lower(): value for name, value in environment.items()}
    return ClusterSettings(_env_file=None, **(values | changes))


class Moves:
    """Where a machine has turned up."""

    def __init__(self) -> None:
        self.nodes: list[str] = []

    async def note(self, node: str) -> None:
        self.nodes.append(node)


def source(cluster: Cluster, vmid: int, node: str = "pve1", moves: Moves | None = None) -> VmSource:
    kind = VmKind.LXC if vmid == 300 else VmKind.QEMU
    vm = Vm(cluster="demo", vmid=vmid, kind=kind, node=node, name="x")
    return VmSource(cluster, vm, (moves or Moves()).note, who="7")


async def look(target: Target) -> bytes:
    """Dial, authenticate, and read ServerInit's fixed part: a console is open."""
    link = await dial(target)
    try:
        await vnc.authenticate(link, target.vnc_password)
        return await link.read(24)
    finally:
        link.abort()


async def type_into(target: Target) -> None:
    """Dial and sign in to a terminal: a console is open."""
    link = await dial(target)
    try:
        await TERMINAL.authenticate(link, target)
    finally:
        link.abort()


async def code_of(call: Awaitable[object]) -> str | None:
    """The code of the problem that is raised or returned, None if there is none."""
    try:
        got = await call
    except Problem as problem:
        return problem.code
    return got.code if isinstance(got, Problem) else None
