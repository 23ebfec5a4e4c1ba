"""One Proxmox VE cluster as the portal sees it: inventory, states, power, console tickets, trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote, urlencode

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.access import ClusterAccess
from cyberlab.proxmox.admission import PORTAL, Caller
from cyberlab.proxmox.answers import (
    POWER,
    ConsoleTicket,
    Snapshot,
    TaskStatus,
    Upid,
    VmStatus,
    power_path,
    rollback_path,
    vm_path,
)
from cyberlab.proxmox.cookies import settings_problems
from cyberlab.proxmox.inventory import Inventory, InventoryCache
from cyberlab.proxmox.nodes import Node, NodeHealth, Nodes
from cyberlab.proxmox.passes import Pass
from cyberlab.proxmox.routed import Routed
from cyberlab.proxmox.tasks import Tasks
from cyberlab.proxmox.tls import Trust
from cyberlab.proxmox.trouble import meaning
from cyberlab.settings import ClusterSettings

__all__ = [
    "POWER",
    "Caller",
    "Cluster",
    "ConsoleTicket",
    "Inventory",
    "NodeHealth",
    "Snapshot",
    "TaskStatus",
    "Upid",
    "settings_problems",
]

_STATUS_SECONDS = 4.0  # for the live state of one VM: a node that is offline would take two minutes
_ABOUT_THE_VM = (problems.VM_GONE, problems.VM_LOCKED, problems.VM_STOPPED, problems.NODE_OFFLINE)
_POWER_SECONDS = 120.0  # pvesh waits for the task; a shutdown takes up to its own 60 s
# The type of task that an action makes, behind "qm" or "vz"; of what high availability looks after, its manager's.
_HA = {"start": "hastart", "stop": "hastop", "shutdown": "hastop"}
# What Proxmox refuses before there is a task, so that none would be found (PVE/API2/Qemu.pm, PVE/API2/LXC/Status.pm).
_NEEDS_POWER = {"qemu": ("reset", "reboot"), "lxc": ("shutdown", "reboot")}
_AS_IT_IS = {("lxc", "start"): "running", ("lxc", "stop"): "stopped"}
_PAUSED = ("paused", "prelaunch", "suspended")  # QEMU's own word for one that cannot be shut down


class Cluster:
    """Everything the portal asks of one cluster; all of it asynchronous, every failure a Problem."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Connects at the first call."""
        self.settings = settings
        self.name = settings.cluster
        self._access = ClusterAccess(settings)
        self._nodes = Nodes([Node(node.name, node.settings, self._access) for node in settings.nodes])
        self._access.nodes = self._nodes
        self.ssh = self._nodes.all[0].ssh  # of the first node
        self.api = Routed(settings, self._nodes)
        self._tasks = Tasks(self.api)
        self._inventory = InventoryCache(self.api.resources)

    def settings_behind(self, ticket: ConsoleTicket) -> ClusterSettings:
        """The settings of the node on which a ticket's port is open."""
        return self._nodes.at(ticket.host).settings

    def health(self) -> list[NodeHealth]:
        """How each node that may be asked is: in reach or not, calls in work and in line."""
        return self._nodes.health()

    # --- what there is

    async def version(self) -> str:
        """The cluster's version."""
        return await self.api.version()

    async def resources(self, max_age: float) -> Inventory:
        """All guests, asked at most ``max_age`` seconds ago."""
        return await self._inventory.get(max_age)

    @property
    def last_inventory(self) -> Inventory | None:
        """The newest inventory that came, however old."""
        return self._inventory.last

    @property
    def problem(self) -> Problem | None:
        """Why the newest call for an inventory gave none."""
        return self._inventory.problem

    async def nodes(self) -> dict[str, str]:
        """The cluster's nodes and their status ("online" is the good one)."""
        return await self.api.nodes()

    async def status(self, node: str, kind: str, vmid: int) -> VmStatus:
        """One guest's live state."""
        return await self.api.status(node, kind, vmid, timeout=_STATUS_SECONDS)

    async def locate(self, kind: str, vmid: int) -> str | None:
        """The node that a guest is on now, None if there is no such guest."""
        found = (await self.resources(0.0)).resources.get(vmid)
        return found.node if found is not None and found.kind == kind else None

    async def online_nodes(self) -> list[str]:
        """The names of the nodes that are up, as the cluster says."""
        return [name for name, status in (await self.nodes()).items() if status == "online"]

    async def explain(self, node: str, kind: str, vmid: int) -> Problem | None:
        """Why a console of this guest may have failed: gone, stopped, locked, its node offline; None: no idea.

        Raises Problem where the cluster could not be asked.

        The inventory answers at once even while a node is offline, but is up to ten seconds behind; so what it
        calls running is asked once more, directly.
        """
        found = (await self.resources(0.0)).resources.get(vmid)
        if found is None or found.kind != kind:
            return Problem(problems.VM_GONE, f"{self.name}/{vmid} is not in the inventory")
        # So it is as well for a machine that was made a moment ago, and while pvestatd does not run (then the node is
        # "unknown" too): only what is called offline is not asked.
        if found.status == "unknown" and (await self.api.nodes()).get(found.node, "offline") == "offline":
            return Problem(problems.NODE_OFFLINE, f"{found.node} is offline")
        try:
            status = await self.status(found.node, kind, vmid)
        except Problem as problem:
            if problem.code in _ABOUT_THE_VM:
                return problem
            if problem.code != problems.PVESH_TIMEOUT:
                raise  # about the way to the cluster: no reason for a console to fail
            # A node that has just gone offline: the inventory learns of it after minutes, pvesh hangs at once.
            return Problem(problems.NODE_OFFLINE, f"{found.node} gave no answer within {_STATUS_SECONDS:.0f} s")
        if status.status == "running":
            return None
        if status.lock:
            return Problem(problems.VM_LOCKED, f"{self.name}/{vmid} is {status.status} and locked ({status.lock})")
        return Problem(problems.VM_STOPPED, f"{self.name}/{vmid} is {status.status}")

    # --- power

    async def power(self, node: str, kind: str, vmid: int, action: str) -> None:
        """One of POWER, and wait for its task; raise Problem when that failed."""
        await self.finish(await self.begin(node, kind, vmid, action), _POWER_SECONDS)

    async def start(self, node: str, kind: str, vmid: int) -> None:
        """Switch a guest on."""
        await self.power(node, kind, vmid, "start")

    async def stop(self, node: str, kind: str, vmid: int) -> None:
        """Pull a guest's plug."""
        await self.power(node, kind, vmid, "stop")

    async def shutdown(self, node: str, kind: str, vmid: int) -> None:
        """Ask a guest to switch itself off; Proxmox waits a minute for that."""
        await self.power(node, kind, vmid, "shutdown")

    async def reset(self, node: str, kind: str, vmid: int) -> None:
        """Press a guest's reset button."""
        await self.power(node, kind, vmid, "reset")

    async def reboot(self, node: str, kind: str, vmid: int) -> None:
        """Ask a guest to shut down, and start it again."""
        await self.power(node, kind, vmid, "reboot")

    # --- tasks that nobody waits for with an open channel

    async def begin(self, node: str, kind: str, vmid: int, action: str) -> Upid | None:
        """Begin one of POWER and return its task's id while it runs; raise Problem.

        What keeps it from being begun at all (no such machine, a reset of one that is off) is raised here; what goes
        wrong in the task (a lock) is its end: see finish(). None: there is nothing to do, a container is so already.
        """
        path = power_path(node, kind, vmid, action)
        if action == "reset" and kind != "qemu":
            raise Problem(problems.NO_RESET_BUTTON, f"{kind}/{vmid}")
        status = await self.status(node, kind, vmid)
        if action in _NEEDS_POWER[kind] and status.status == "stopped":
            raise Problem(problems.VM_STOPPED, f"{action} of {self.name}/{vmid}")
        if _AS_IT_IS.get((kind, action)) == status.status:
            return None
        if action in ("shutdown", "reboot") and status.qmp_status in _PAUSED:
            raise Problem(problems.SHUTDOWN_IGNORED, f"{self.name}/{vmid} is {status.qmp_status}")
        try:
            return await self._tasks.begin(node, vmid, (_task_kind(kind, action), _HA.get(action, "")), path, {})
        except Problem as problem:
            if not _as_asked(action, problem.detail):
                raise
            return None

    async def snapshots(self, node: str, kind: str, vmid: int) -> list[Snapshot]:
        """A guest's snapshots, those that can be taken back to."""
        return await self.api.snapshots(node, kind, vmid)

    async def rollback(self, node: str, kind: str, vmid: int, name: str, start: bool) -> Upid:
        """Begin to take a guest back to a snapshot, and return the task's id while it runs; raise Problem.

        A machine that runs is switched off by it; ``start``: and on again afterwards. One whose snapshot holds its
        memory goes on where it was.
        """
        path = rollback_path(node, kind, vmid, name)
        await self.status(node, kind, vmid)  # whether it is there: a call that fails at once leaves no task to be found
        return await self._tasks.begin(
            node, vmid, (_task_kind(kind, "rollback"),), path, {"start": "1"} if start else {}
        )

    async def task_status(self, upid: Upid) -> TaskStatus:
        """How a task is, or ended."""
        return await self._tasks.status(upid)

    async def wait_task(
        self, upid: Upid, timeout: float, progress: Callable[[TaskStatus], None] | None = None
    ) -> TaskStatus:
        """Look at a task until it ends, telling ``progress`` of each look; raise Problem.

        Raises Problem(PVESH_TIMEOUT) after ``timeout`` seconds; the task goes on then.
        """
        return await self._tasks.wait(upid, timeout, progress)

    async def finish(
        self, upid: Upid | None, timeout: float, progress: Callable[[TaskStatus], None] | None = None
    ) -> TaskStatus:
        """The same, and raise Problem when the task failed; its detail is what the task said.

        To start what runs already is no failure: two people may click at the same time. Nor is None, of begin().
        """
        if upid is None:
            return TaskStatus(False, "OK")
        status = await self.wait_task(upid, timeout, progress)
        if not status.ok and not _as_asked("start" if "start:" in upid.text else "", status.exit_status):
            ended = status.exit_status[:200]
            raise Problem(meaning(ended), f"{upid.text}: {ended}")
        return status

    # --- consoles

    async def console_ticket(self, node: str, kind: str, vmid: int, caller: Caller = PORTAL) -> ConsoleTicket:
        """Open a port for one console: single use, ten seconds; ``caller``: whose turn it takes."""
        return await self.api.vncproxy(node, kind, vmid, caller)

    async def terminal_ticket(self, node: str, kind: str, vmid: int, caller: Caller = PORTAL) -> ConsoleTicket:
        """The same for one terminal."""
        # The CA first, as termproxy does not tell it: from the ticket on, Proxmox waits ten seconds.
        ca = await self._access.ca() if self.settings.source == "pvesh" else ""
        return replace(await self.api.termproxy(node, kind, vmid, caller), certificate=ca)

    @staticmethod
    def websocket_path(node: str, kind: str, vmid: int, ticket: ConsoleTicket) -> str:
        """Path and query of the console's websocket; tickets contain +, / and =, passwords anything printable."""
        query = urlencode({"port": ticket.port, "vncticket": ticket.signed or ticket.ticket}, quote_via=quote, safe="")
        return f"/api2/json{vm_path(node, kind, vmid)}/vncwebsocket?{query}"

    async def auth_cookie(self) -> str:
        """The cookie that goes with a ticket; '' where an API token does."""
        return (await self._access.passes.get()).cookie

    def headers(self, cookie: str) -> tuple[tuple[str, str], ...]:
        """What goes with a ticket into the request for its websocket; ``cookie``: from auth_cookie()."""
        settings = self.settings
        if settings.by_token:
            return Pass.of_token(settings.token_name, settings.token_value.get_secret_value()).headers
        return Pass.of_cookie(settings.user, cookie).headers

    def forget_cookie(self, cookie: str) -> None:
        """Proxmox refused it."""
        self._access.passes.forget(cookie)

    # --- TLS

    async def tls(self, ticket: ConsoleTicket) -> Trust:
        """What to verify the console's connection against; the cluster's CA came with the ticket, over SSH."""
        node = self._nodes.at(ticket.host)
        if self.settings.source == "https":
            return await self._access.trust(node)
        return await self._access.trusts.get(node.settings, ticket.certificate, (ticket.node_host,))

    def close(self) -> None:
        """End what is in flight and the SSH connections (blocking; called from the loop)."""
        self._tasks.close()
        self._inventory.close()
        self.api.close()
        self._access.close()
        self._nodes.close()


def _as_asked(action: str, said: str) -> bool:
    return action == "start" and "already running" in said


def _task_kind(kind: str, action: str) -> str:
    return ("qm" if kind == "qemu" else "vz") + action
