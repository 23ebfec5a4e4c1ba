"""The API of a whole cluster: each call goes to the node that suits it, in its turn there (nodes.py, admission.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.admission import PORTAL, Caller
from cyberlab.proxmox.answers import ConsoleTicket, Upid
from cyberlab.proxmox.calls import Api
from cyberlab.proxmox.flight import Kept
from cyberlab.proxmox.minting import mint_ticket
from cyberlab.proxmox.nodes import RECOVERY_SECONDS, Node, Nodes
from cyberlab.settings import ClusterSettings

_STATES_SECONDS = 3.0


class _LostOnTheWay(Exception):
    """The machine's own node could be reached when it was chosen, and no longer when it was asked."""


class Routed(Api):
    """Calls of one cluster's API on whichever of its nodes can be reached."""

    def __init__(self, settings: ClusterSettings, nodes: Nodes) -> None:
        self._nodes = nodes
        self._user = settings.console_user if settings.source == "pvesh" else ""
        self._states = Kept(self.nodes, _STATES_SECONDS)
        self._bound = True  # whether tickets are bound to their port here; each of vncproxy's tells
        self.tells_tasks = settings.source == "https"

    async def call(
        self, verb: str, path: str, parameters: dict[str, str] | None = None, *, subject: str = "",
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """One call on the subject's own node, or on any."""
        return await self._nodes.run(
            subject, lambda node: node.api.call(verb, path, parameters, subject=subject, timeout=timeout)
        )

    async def vncproxy(self, node: str, kind: str, vmid: int, caller: Caller = PORTAL) -> ConsoleTicket:
        """Open a picture console's port, when it is the caller's turn."""
        return await self._ticket(node, vmid, lambda api: api.vncproxy(node, kind, vmid), caller)

    async def termproxy(self, node: str, kind: str, vmid: int, caller: Caller = PORTAL) -> ConsoleTicket:
        """Open a terminal's port, when it is the caller's turn."""
        return await self._ticket(node, vmid, lambda api: api.termproxy(node, kind, vmid), caller)

    async def _ticket(
        self, node: str, vmid: int, ask: Callable[[Api], Awaitable[ConsoleTicket]], caller: Caller
    ) -> ConsoleTicket:
        await self._refuse_the_dead(node)
        own = self._nodes.named(node)
        lost = own is not None and own.trouble is not None

        async def work(host: Node) -> ConsoleTicket:
            if own is not None and host is not own and not lost:
                raise _LostOnTheWay
            ticket = replace(await ask(host.api), host=host.settings.host)
            host.name = host.name or ticket.node_host
            if self._user:
                # termproxy's answer does not show it; without knowing better, it is as since April 2026.
                self._bound = bound = ticket.bound if ticket.password else self._bound
                signed = await mint_ticket(host.warm, self._user, vmid, ticket.port if bound else None)
                ticket = replace(ticket, signed=signed)
            return ticket

        try:
            return await self._nodes.run(node, work, caller=caller, patience=RECOVERY_SECONDS)
        except _LostOnTheWay:
            # Asked here and not in there: whoever has a place at a node must not wait for another one.
            await self._refuse_the_dead(node)
            lost = True
            return await self._nodes.run(node, work, caller=caller, patience=RECOVERY_SECONDS)

    async def _refuse_the_dead(self, name: str) -> None:
        """Raise Problem for a node that is down: another one would give a ticket, behind which nothing ever answers."""
        node = self._nodes.named(name)
        if len(self._nodes.all) == 1 or node is None or node.trouble is None:
            return
        if (await self._states.get()).get(name) == "offline":
            raise Problem(problems.NODE_OFFLINE, f"{name} is offline")

    async def detach(self, path: str, parameters: dict[str, str], *, subject: str) -> Upid | None:
        """Begin a task on the subject's own node, or through any."""
        return await self._nodes.run(
            subject, lambda node: node.api.detach(path, parameters, subject=subject), patience=RECOVERY_SECONDS
        )

    async def probe(self) -> None:
        """Any node will do."""
        await self._nodes.first(lambda node: node.api.probe())

    def close(self) -> None:
        """End a call in flight."""
        self._states.close()
