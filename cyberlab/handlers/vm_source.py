"""One machine of one cluster, as the gateway needs it: fresh targets, and the cause when a console fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from cyberlab import problems
from cyberlab.console.upstream import Target
from cyberlab.db.models import Vm, VmKind
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Cluster, ConsoleTicket


def has_terminal(vm: Vm) -> bool:
    """Whether a machine's console is a terminal: a container's, which has no screen."""
    return vm.kind is VmKind.LXC


class VmSource:
    """Turns a cluster's tickets into the gateway's targets; finds a machine again that has migrated."""

    def __init__(self, cluster: Cluster, vm: Vm, moved: Callable[[str], Awaitable[None]]) -> None:
        """``moved`` is told the new node of a machine that is no longer where the portal thought."""
        self._cluster = cluster
        self._node = vm.node
        self._kind = vm.kind.value
        self._terminal = has_terminal(vm)
        self._vmid = vm.vmid
        self._moved = moved
        self._cookie = ""

    async def target(self) -> Target:
        """A ticket and what it takes to dial it; raise Problem."""
        # The cookie first: from the ticket on, Proxmox waits ten seconds for the connection.
        self._cookie = await self._cluster.auth_cookie()
        return await self.target_for(await self.ticket(), self._cookie)

    async def ticket(self) -> ConsoleTicket:
        """A ticket from wherever the machine is now; raise Problem."""
        ask = self._cluster.terminal_ticket if self._terminal else self._cluster.console_ticket
        try:
            return await ask(self._node, self._kind, self._vmid)
        except Problem as problem:
            if problem.code != problems.VM_GONE or not await self._find_again():
                raise
        return await ask(self._node, self._kind, self._vmid)

    async def target_for(self, ticket: ConsoleTicket, cookie: str) -> Target:
        """What it takes to dial with that ticket; raise Problem."""
        cluster = self._cluster
        trust = await cluster.tls(ticket)
        address = urlsplit(cluster.settings.host)
        return Target(
            host=address.hostname or "",
            port=address.port or 443,
            resource=cluster.websocket_path(self._node, self._kind, self._vmid, ticket),
            headers=(("Cookie", f"PVEAuthCookie={cookie}"),),
            vnc_password=ticket.password,
            context=trust.context,
            server_names=trust.server_names,
            fingerprint=trust.fingerprint,
            terminal_user=ticket.user if self._terminal else "",
            terminal_ticket=ticket.ticket if self._terminal else "",
        )

    async def _find_again(self) -> bool:
        node = await self._cluster.locate(self._kind, self._vmid)
        if node is None or node == self._node:
            return False
        self._node = node
        await self._moved(node)
        return True

    def cookie_refused(self) -> None:
        """Have a new auth cookie made for the next target."""
        self._cluster.forget_cookie(self._cookie)

    async def explain(self) -> Problem | None:
        """What the cluster says about the machine now."""
        return await self._cluster.explain(self._node, self._kind, self._vmid)
