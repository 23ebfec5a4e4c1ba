"""What Proxmox's API answers, as dataclasses; the same by `pvesh` and over HTTPS.

Numbers come as strings at times, fields are missing while a node is offline, and a UPID may stand at the end of a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cyberlab import problems
from cyberlab.problems import Problem

_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# PVE/Tools.pm, upid_decode; without what has a meaning in a path, as it becomes part of one.
_UPID = re.compile(
    r"UPID:([A-Za-z0-9-]+):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:[0-9A-Fa-f]{8}:[\w-]+:[^:\s/?#%\"]*:[^:\s/?#%\"]+:"
)
_SNAPSHOT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")  # PVE/JSONSchema.pm, pve-configid
_KINDS = ("qemu", "lxc")
_STATES = ("running", "stopped", "unknown")
_BETWEEN_TAGS = re.compile(r"[;,\s]+")  # PVE/JSONSchema.pm, pve-tag-list: a list as somebody typed it
POWER = ("start", "stop", "shutdown", "reset", "reboot")


@dataclass(frozen=True, slots=True)
class Upid:
    """A task's id; ``node`` is where it runs."""

    text: str
    node: str

    @classmethod
    def parse(cls, text: object) -> Upid:
        """Raises Problem(PVESH_FAILED) for what holds none.

        The last one counts: of a task on another node, pvesh returns the log and the UPID as one string.
        """
        found = list(_UPID.finditer(text)) if isinstance(text, str) else []
        if not found:
            raise Problem(problems.PVESH_FAILED, "no UPID in the answer")
        return cls(found[-1][0], found[-1][1])


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """How a task is, or ended."""

    running: bool
    exit_status: str = ""

    @property
    def ok(self) -> bool:
        """Ended well; warnings are no failure (PVE/Tools.pm, upid_status_is_error)."""
        return not self.running and (self.exit_status == "OK" or self.exit_status.startswith("WARNINGS"))


@dataclass(frozen=True, slots=True)
class Task:
    """One line of a node's list of tasks; ``guest``: the VMID that it is about, as text."""

    upid: Upid
    kind: str
    guest: str
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state that a guest can be taken back to."""

    name: str
    description: str = ""
    taken_at: datetime | None = None
    with_memory: bool = False  # a machine that ran goes on where it was
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One line of the inventory; a node that is offline leaves all but the first four empty."""

    vmid: int
    kind: str
    node: str
    status: str  # 'running', 'stopped', 'paused'; 'unknown' while the node is offline or the VM is new
    name: str = ""
    lock: str = ""
    template: bool = False
    pool: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VmStatus:
    """A VM asked directly: fresher than the inventory, and it waits for the node."""

    status: str
    qmp_status: str = ""
    lock: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class ConsoleTicket:
    """What vncproxy or termproxy gave: good for one connection within ten seconds; only the address of it prints."""

    node_host: str  # the node on which pvesh ran: the port is open there, whatever node the VM is on
    port: int
    ticket: str = field(repr=False)
    password: str = field(repr=False)
    user: str
    certificate: str = field(default="", repr=False)  # PEM of the cluster's CA
    host: str = ""  # the web address of that node, as the settings have it
    bound: bool = False  # to its port, as since April 2026; of termproxy's it cannot be seen
    signed: str = field(default="", repr=False)  # another user's ticket for the same port, for the websocket alone


@dataclass(frozen=True, slots=True)
class Certificates:
    """The cluster's CA (PEM), and the name in the node's own certificate where that is told, else ''."""

    ca: str
    node: str


def node_name(node: str) -> str:
    """The node's name if it is one; raise ValueError (it becomes part of a path)."""
    if not _NODE.fullmatch(node):
        raise ValueError(f"no name of a node: {node!r}")
    return node


def vm_path(node: str, kind: str, vmid: int) -> str:
    """The API path of a VM or container; raise ValueError for what cannot be one."""
    if kind not in _KINDS or vmid <= 0:
        raise ValueError(f"no guest: {kind!r} {vmid!r}")
    return f"/nodes/{node_name(node)}/{kind}/{vmid:d}"


def power_path(node: str, kind: str, vmid: int, action: str) -> str:
    """The API path that switches a guest; raise ValueError for what is none of POWER."""
    if action not in POWER:
        raise ValueError(action)
    return f"{vm_path(node, kind, vmid)}/status/{action}"


def rollback_path(node: str, kind: str, vmid: int, name: str) -> str:
    """The API path that takes a guest back to a snapshot; raise ValueError for what is no name of one."""
    if not _SNAPSHOT.fullmatch(name) or name == "current":
        raise ValueError(f"no name of a snapshot: {name!r}")
    return f"{vm_path(node, kind, vmid)}/snapshot/{name}/rollback"


def console_ticket(row: dict[str, Any]) -> ConsoleTicket:
    """A ticket from the answer of vncproxy or termproxy, in the format of before and of after April 2026.

    The password is a field of its own today; before, the ticket itself served, of which RFB uses eight characters.
    """
    ticket, user = row.get("ticket"), row.get("user")
    try:
        port = int(row["port"])  # a string in JSON
    except (KeyError, TypeError, ValueError):
        port = 0
    if not isinstance(ticket, str) or not ticket or not isinstance(user, str) or not 5900 <= port <= 5999:
        raise Problem(problems.PVESH_FAILED, "no ticket, user or port in the answer")
    password = row.get("password")
    return ConsoleTicket(
        node_host=Upid.parse(row.get("upid")).node,
        port=port,
        ticket=ticket,
        password=(password if isinstance(password, str) and password else ticket)[:8],
        user=user,
        certificate=text_of(row, "cert"),
        bound=bool(password),
    )


def task(row: dict[str, Any]) -> Task | None:
    """One line of a list of tasks, None for what is none; without a status, or with RUNNING, it runs."""
    found = _UPID.fullmatch(text_of(row, "upid"))
    if found is None:
        return None
    ended = text_of(row, "status")
    status = TaskStatus(True) if ended in ("", "RUNNING") else TaskStatus(False, ended)
    return Task(Upid(found[0], found[1]), text_of(row, "type"), text_of(row, "id"), status)


def snapshot(row: dict[str, Any]) -> Snapshot:
    """One line of a guest's list of snapshots."""
    seconds = text_of(row, "snaptime")
    return Snapshot(
        name=text_of(row, "name"),
        description=text_of(row, "description"),
        taken_at=datetime.fromtimestamp(int(seconds), UTC) if seconds.isdecimal() else None,
        with_memory=text_of(row, "vmstate") not in ("", "0"),
        parent=text_of(row, "parent"),
    )


def is_guest(row: dict[str, Any]) -> bool:
    """Whether a line of the inventory is a VM or a container."""
    return row.get("type") in _KINDS and str(row.get("vmid", "")).isdecimal()


def resource(row: dict[str, Any]) -> Resource:
    return Resource(
        vmid=int(row["vmid"]),
        kind=text_of(row, "type"),
        node=text_of(row, "node"),
        status=_state(text_of(row, "status")),
        name=text_of(row, "name"),
        lock=text_of(row, "lock"),
        template=text_of(row, "template") not in ("", "0"),
        pool=text_of(row, "pool"),
        tags=tuple(tag for tag in _BETWEEN_TAGS.split(text_of(row, "tags")) if tag),
    )


def _state(status: str) -> str:
    """The inventory has QEMU's own run state where there is one (pvestatd, update_qemu_status).

    Of those, "running" alone executes anything: whether suspended, out of storage or crashed, it stands still.
    """
    return status if status in _STATES else "paused" if status else "unknown"


def text_of(row: dict[str, Any], key: str) -> str:
    """A field as text, '' for one that is missing or null."""
    value = row.get(key)
    return "" if value is None else str(value)


def rows_of(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Problem(problems.PVESH_FAILED, "the answer is not a list")
    return [row for row in value if isinstance(row, dict)]


def object_of(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem(problems.PVESH_FAILED, "the answer is not an object")
    return value
