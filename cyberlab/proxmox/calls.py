"""The calls of Proxmox's API that the portal makes, whatever way they go."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from cyberlab.proxmox.answers import (
    Certificates,
    ConsoleTicket,
    Resource,
    Snapshot,
    Task,
    TaskStatus,
    Upid,
    VmStatus,
    console_ticket,
    is_guest,
    node_name,
    object_of,
    resource,
    rows_of,
    snapshot,
    task,
    text_of,
    vm_path,
)

_TASKS = 500  # lines of a node's list: a class of two hundred that starts its machines, twice


class Api(ABC):
    """Typed calls of one cluster's API; every failure a Problem."""

    tells_tasks = False  # whether detach() answers with the task's id

    @abstractmethod
    async def call(
        self, verb: str, path: str, parameters: dict[str, str] | None = None, *, subject: str = "",
        timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """Make one call and return its answer, None for an empty one; raise Problem.

        ``verb``: get, set, create or delete. ``subject``: the node that the call is about. ``timeout``: seconds.
        """

    @abstractmethod
    async def vncproxy(self, node: str, kind: str, vmid: int) -> ConsoleTicket:
        """Open a port for one picture console."""

    async def termproxy(self, node: str, kind: str, vmid: int) -> ConsoleTicket:
        """Open a terminal's port (PVE/API2/LXC.pm and Qemu.pm, termproxy): no password, no certificate."""
        row = object_of(await self.call("create", f"{vm_path(node, kind, vmid)}/termproxy", subject=node))
        return replace(console_ticket(row), password="")

    @abstractmethod
    async def detach(self, path: str, parameters: dict[str, str], *, subject: str) -> Upid | None:
        """Begin a task (a POST) without waiting for it: its id, or None if it must be looked for; raise Problem."""

    @abstractmethod
    async def probe(self) -> None:
        """Whether the way to the node is open, at the least cost; raise Problem."""

    async def version(self) -> str:
        """The version of pve-manager."""
        return str(object_of(await self.call("get", "/version")).get("version", ""))

    async def nodes(self) -> dict[str, str]:
        """The cluster's nodes and their status."""
        rows = rows_of(await self.call("get", "/nodes"))
        return {text_of(row, "node"): text_of(row, "status") or "unknown" for row in rows if row.get("node")}

    async def certificates(self) -> Certificates:
        """The certificates of the node that pvesh runs on.

        Of 'localhost' a real node lists its CA alone, as the other path has the node's name in it
        (PVE/API2/Certificates.pm, info): nothing may depend on ``node``.
        """
        rows = rows_of(await self.call("get", "/nodes/localhost/certificates/info"))
        found = {text_of(row, "filename"): row for row in rows}
        node = re.search(r"/CN=([A-Za-z0-9-]+)", text_of(found.get("pve-ssl.pem", {}), "subject"))
        return Certificates(text_of(found.get("pve-root-ca.pem", {}), "pem"), node[1] if node else "")

    async def resources(self) -> list[Resource]:
        """All VMs and containers of the cluster."""
        rows = rows_of(await self.call("get", "/cluster/resources", {"type": "vm"}))
        return [resource(row) for row in rows if is_guest(row)]

    async def status(self, node: str, kind: str, vmid: int, *, timeout: float | None = None) -> VmStatus:
        """One VM's state, asked of its node."""
        path = f"{vm_path(node, kind, vmid)}/status/current"
        row = object_of(await self.call("get", path, subject=node, timeout=timeout))
        return VmStatus(
            status=text_of(row, "status") or "unknown",
            qmp_status=text_of(row, "qmpstatus"),
            lock=text_of(row, "lock"),
            name=text_of(row, "name"),
        )

    async def task_status(self, upid: Upid) -> TaskStatus:
        """How a task is."""
        row = object_of(
            await self.call("get", f"/nodes/{node_name(upid.node)}/tasks/{upid.text}/status", subject=upid.node)
        )
        return TaskStatus(row.get("status") == "running", text_of(row, "exitstatus"))

    async def tasks(self, node: str, *, timeout: float | None = None) -> list[Task]:
        """A node's tasks, those that run and the last that ended, newest first (PVE/API2/Tasks.pm, node_tasks)."""
        path = f"/nodes/{node_name(node)}/tasks"
        rows = rows_of(
            await self.call("get", path, {"source": "all", "limit": str(_TASKS)}, subject=node, timeout=timeout)
        )
        return [found for row in rows if (found := task(row)) is not None]

    async def snapshots(self, node: str, kind: str, vmid: int) -> list[Snapshot]:
        """A guest's snapshots in Proxmox's order, without the entry "current", which is none."""
        rows = rows_of(await self.call("get", f"{vm_path(node, kind, vmid)}/snapshot", subject=node))
        return [snapshot(row) for row in rows if text_of(row, "name") not in ("", "current")]
