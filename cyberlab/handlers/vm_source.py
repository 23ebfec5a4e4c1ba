"""One machine of one cluster, as the gateway needs it: fresh targets, and the cause when a console fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from cyberlab import problems
from cyberlab.console.upstream import Target
from cyberlab.db.models import Vm, VmKind
from cyberlab.problems import Problem
from cyberlab.proxmox.cluster import Caller, Cluster, ConsoleTicket

_ELSEWHERE = (problems.VM_GONE, problems.NODE_OFFLINE)  # it may have migrated, or been taken over from a dead node
_SEARCHED = 16  # nodes; the largest clusters have twice as many, of which the inventory knows the right one


def has_terminal(vm: Vm) -> bool:
    """Whether a machine's console is a terminal: a container's, which has no screen."""
    return vm.kind is VmKind.LXC


class VmSource:
    """Turns a cluster's tickets into the gateway's targets; finds a machine again that has migrated."""

    def __init__(self, cluster: Cluster, vm: Vm, moved: Callable[[str], Awaitable[None]], who: str = "") -> None:
        """``moved`` is told the new node of a machine that is no longer where the portal thought.

        ``who``: for whom, as users take turns at a node; '': for the portal itself.
        """
        self._cluster = cluster
        self._node = vm.node
        self._kind = vm.kind.value
        self._terminal = has_terminal(vm)
        self._vmid = vm.vmid
        self._moved = moved
        self._who = who
        self._cookie = ""

    async def target(self, on_position: Callable[[int], None] | None = None) -> Target:
        """A ticket and what it takes to dial it; ``on_position`` is told the place in line. Raises Problem."""
        # The cookie first: from the ticket on, Proxmox waits ten seconds for the connection.
        self._cookie = await self._cluster.auth_cookie()
        return await self.target_for(await self.ticket(on_position), self._cookie)

    async def ticket(self, on_position: Callable[[int], None] | None = None) -> ConsoleTicket:
        """A ticket from wherever the machine is now; raise Problem."""
        ask = self._cluster.terminal_ticket if self._terminal else self._cluster.console_ticket
        caller = Caller(self._who, on_position)
        try:
            return await ask(self._node, self._kind, self._vmid, caller)
        except Problem as problem:
            if problem.code not in _ELSEWHERE:
                raise
            for node in await self._elsewhere(problem.code):
                try:
                    ticket = await ask(node, self._kind, self._vmid, caller)
                except Problem as other:
                    if other.code not in _ELSEWHERE:
                        raise
                    continue
                self._node = node
                await self._moved(node)
                return ticket
            raise

    async def _elsewhere(self, code: str) -> list[str]:
        """The nodes that the machine may have gone to, the likeliest first; none if it is gone for good.

        The inventory may be seconds behind a migration: then each node is asked that is there.
        """
        said = await self._cluster.locate(self._kind, self._vmid)
        if said is None:
            return []
        likely = [] if said == self._node else [said]
        if code == problems.NODE_OFFLINE:
            return likely
        others = [node for node in await self._cluster.online_nodes() if node not in (self._node, said)]
        return likely + others[:_SEARCHED]

    async def target_for(self, ticket: ConsoleTicket, cookie: str) -> Target:
        """What it takes to dial with that ticket; raise Problem."""
        cluster = self._cluster
        trust = await cluster.tls(ticket)
        address = urlsplit(ticket.host or cluster.settings.host)
        return Target(
            host=address.hostname or "",
            port=address.port or 443,
            resource=cluster.websocket_path(self._node, self._kind, self._vmid, ticket),
            headers=cluster.headers(cookie),
            vnc_password=ticket.password,
            context=trust.context,
            server_names=trust.server_names,
            fingerprint=trust.fingerprint,
            terminal_user=ticket.user if self._terminal else "",
            terminal_ticket=ticket.ticket if self._terminal else "",
        )

    def cookie_refused(self) -> None:
        """Have a new auth cookie made for the next target."""
        self._cluster.forget_cookie(self._cookie)

    async def explain(self) -> Problem | None:
        """What the cluster says about the machine now."""
        return await self._cluster.explain(self._node, self._kind, self._vmid)
