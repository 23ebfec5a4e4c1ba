"""`pvesh` commands and what they answer (PVE/CLI/pvesh.pm, PVE/RESTEnvironment.pm; docs/proxmox-cluster.md).

Its habits decide this module: the answer is the last line of stdout, below a task's whole log; an exit status of zero
says nothing about a task; words on stderr say nothing about failure.
"""

from __future__ import annotations

import json
import logging
import re
import shlex
from dataclasses import dataclass, field, replace
from typing import Any

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.command import CommandResult
from cyberlab.proxmox.ssh import SshPool

log = logging.getLogger(__name__)

_NODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# PVE/Tools.pm, upid_decode; without what has a meaning in a path, as it becomes part of one.
_UPID = re.compile(
    r"UPID:([A-Za-z0-9-]+):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:[0-9A-Fa-f]{8}:[\w-]+:[^:\s/?#%\"]*:[^:\s/?#%\"]+:"
)
_SECRET = re.compile(r".{8}:PVEVNC:\S+|PVE(?:VNC|AuthCookie|APIToken)?[:=]\S+")
_KINDS = ("qemu", "lxc")
POWER = ("start", "stop", "shutdown", "reset", "reboot")

# What pvesh says on stderr, and what it means; the first that is found counts.
_MEANINGS: tuple[tuple[str, str], ...] = (
    ("unable to find free port", problems.NO_FREE_PORT),
    (".conf' does not exist", problems.VM_GONE),
    ("is locked (", problems.VM_LOCKED),
    ("can't lock file", problems.VM_LOCKED),
    ("not running", problems.VM_STOPPED),
    ("no quorum", problems.NODE_OFFLINE),
    ("hostname lookup", problems.NODE_OFFLINE),
    ("ssh: connect to host", problems.NODE_OFFLINE),  # from there to the VM's node
    ("no such cluster node", problems.NODE_OFFLINE),
    ("permission denied (publickey", problems.PVESH_FAILED),  # from there to the VM's node: not about our key
    ("please run as root", problems.PVESH_MISSING),
    ("command not found", problems.PVESH_MISSING),
    ("pvesh: not found", problems.PVESH_MISSING),  # dash
    ("perl: not found", problems.PVESH_MISSING),
    ("can't locate pve", problems.PVESH_MISSING),  # perl's modules
    ("permission denied", problems.PVESH_MISSING),
)


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
class Resource:
    """One line of the inventory; a node that is offline leaves all but the first four empty."""

    vmid: int
    kind: str
    node: str
    status: str  # 'running', 'stopped'; 'unknown' while the node is offline or the VM is new
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


@dataclass(frozen=True, slots=True)
class Certificates:
    """The cluster's CA (PEM), and the name in the node's own certificate where that is told, else ''."""

    ca: str
    node: str


class Pvesh:
    """Typed calls of one cluster's API through `pvesh` on one of its nodes."""

    def __init__(self, ssh: SshPool, timeout: float) -> None:
        """``timeout``: seconds for a call."""
        self._ssh = ssh
        self._timeout = timeout

    async def call(
        self, verb: str, path: str, parameters: dict[str, str] | None = None, *, subject: str = "",
        timeout: float | None = None, slow: bool = False,
    ) -> Any:  # fmt: skip
        """Run one pvesh command and return its answer, None for an empty one; raise Problem.

        ``verb``: get, set, create or delete. ``subject``: the node that the call is about. ``timeout``: seconds.
        ``slow``: it waits for a task.
        """
        line = command_line(verb, path, parameters or {})
        result = await self._ssh.run(
            line, timeout=timeout or self._timeout, idempotent=verb == "get", subject=subject, slow=slow
        )  # fmt: skip
        return answer(result)

    async def version(self) -> str:
        """The version of pve-manager."""
        return str(_dict(await self.call("get", "/version")).get("version", ""))

    async def nodes(self) -> dict[str, str]:
        """The cluster's nodes and their status."""
        rows = _rows(await self.call("get", "/nodes"))
        return {_text(row, "node"): _text(row, "status") or "unknown" for row in rows if row.get("node")}

    async def certificates(self) -> Certificates:
        """The certificates of the node that pvesh runs on.

        Of 'localhost' a real node lists its CA alone, as the other path has the node's name in it
        (PVE/API2/Certificates.pm, info): nothing may depend on ``node``.
        """
        rows = _rows(await self.call("get", "/nodes/localhost/certificates/info"))
        found = {_text(row, "filename"): row for row in rows}
        node = re.search(r"/CN=([A-Za-z0-9-]+)", _text(found.get("pve-ssl.pem", {}), "subject"))
        return Certificates(_text(found.get("pve-root-ca.pem", {}), "pem"), node[1] if node else "")

    async def resources(self) -> list[Resource]:
        """All VMs and containers of the cluster."""
        rows = _rows(await self.call("get", "/cluster/resources", {"type": "vm"}))
        return [_resource(row) for row in rows if row.get("type") in _KINDS and str(row.get("vmid", "")).isdecimal()]

    async def status(self, node: str, kind: str, vmid: int, *, timeout: float | None = None) -> VmStatus:
        """One VM's state, asked of its node."""
        path = f"{vm_path(node, kind, vmid)}/status/current"
        row = _dict(await self.call("get", path, subject=node, timeout=timeout))
        return VmStatus(
            status=_text(row, "status") or "unknown",
            qmp_status=_text(row, "qmpstatus"),
            lock=_text(row, "lock"),
            name=_text(row, "name"),
        )

    async def vncproxy(self, node: str, kind: str, vmid: int) -> ConsoleTicket:
        """Open a console's port (PVE/API2/Qemu.pm, vncproxy); a container's call never returns in time."""
        if kind != "qemu":
            raise Problem(problems.VM_KIND_UNSUPPORTED, f"{kind}/{vmid}")
        # Without websocket=1 QEMU would listen on all interfaces.
        row = _dict(
            await self.call("create", f"{vm_path(node, kind, vmid)}/vncproxy", {"websocket": "1"}, subject=node)
        )
        return console_ticket(row)

    async def termproxy(self, node: str, kind: str, vmid: int) -> ConsoleTicket:
        """Open a terminal's port (PVE/API2/LXC.pm and Qemu.pm, termproxy): no password, no certificate."""
        row = _dict(await self.call("create", f"{vm_path(node, kind, vmid)}/termproxy", subject=node))
        return replace(console_ticket(row), password="")

    async def power(self, node: str, kind: str, vmid: int, action: str, *, timeout: float) -> Upid:
        """One of POWER; pvesh waits for the task, whose status tells how it was. ``timeout``: seconds."""
        if action not in POWER:
            raise ValueError(action)
        path = f"{vm_path(node, kind, vmid)}/status/{action}"
        return Upid.parse(await self.call("create", path, subject=node, timeout=timeout, slow=True))

    async def task_status(self, upid: Upid) -> TaskStatus:
        """How a task is."""
        row = _dict(
            await self.call("get", f"/nodes/{node_name(upid.node)}/tasks/{upid.text}/status", subject=upid.node)
        )
        return TaskStatus(row.get("status") == "running", _text(row, "exitstatus"))


def answer(result: CommandResult) -> Any:
    """What a finished command answered; raise Problem for a failure or for what is not JSON."""
    if result.exit != 0:
        raise failure(result.exit, result.stderr)
    if result.stderr.strip():
        log.debug("pvesh warned: %s", _said(result.stderr))
    # Not splitlines(): JSON may hold U+2028 and its like unescaped.
    lines = [line for line in result.stdout.split("\n") if line.strip()]
    if not lines:
        return None  # calls of return type null print nothing
    try:
        return json.loads(lines[-1])
    except ValueError:
        raise Problem(problems.PVESH_FAILED, "the last line of the answer is not JSON") from None


def command_line(verb: str, path: str, parameters: dict[str, str]) -> str:
    """The command for the remote shell; raise ValueError for what no command line can carry."""
    # One word each, so that a value which begins with a dash is no option.
    words = ["pvesh", verb, path, *(f"--{name}={value}" for name, value in parameters.items())]
    line = shlex.join([*words, "--output-format", "json"])
    if "\0" in line:
        raise ValueError("a NUL in an argument")
    line.encode()  # lone surrogates: UnicodeEncodeError is a ValueError
    return line


def failure(exit_status: int, stderr: str) -> Problem:
    """The problem behind a non-zero exit; its detail is what pvesh said first, without anything secret."""
    usual = problems.PVESH_MISSING if exit_status in (126, 127) else problems.PVESH_FAILED
    return Problem(meaning(stderr, usual), f"exit {exit_status}: {_said(stderr)}")


def meaning(text: str, usual: str = problems.PVESH_FAILED) -> str:
    """The catalogue's code for what pvesh said on stderr, or a task as its exit status; ``usual``: if unknown."""
    lowered = text.lower()
    return next((code for words, code in _MEANINGS if words in lowered), usual)


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
        certificate=_text(row, "cert"),
    )


def _resource(row: dict[str, Any]) -> Resource:
    return Resource(
        vmid=int(row["vmid"]),
        kind=_text(row, "type"),
        node=_text(row, "node"),
        status=_text(row, "status") or "unknown",
        name=_text(row, "name"),
        lock=_text(row, "lock"),
        template=_text(row, "template") not in ("", "0"),
        pool=_text(row, "pool"),
        tags=tuple(tag for tag in _text(row, "tags").split(";") if tag),
    )


def _text(row: dict[str, Any], key: str) -> str:
    """A field as text, '' for one that is missing or null."""
    value = row.get(key)
    return "" if value is None else str(value)


def _rows(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise Problem(problems.PVESH_FAILED, "the answer is not a list")
    return [row for row in value if isinstance(row, dict)]


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Problem(problems.PVESH_FAILED, "the answer is not an object")
    return value


def _said(stderr: str) -> str:
    """The line that tells the cause: the first, but for perl's complaints about the locale and warnings."""
    lines = [line for line in stderr.split("\n") if line.strip()]
    complaints = [index for index, line in enumerate(lines) if line.startswith("perl: warning:")]
    after = lines[complaints[-1] + 1 :] if complaints else lines
    line = next((line for line in after if not line.startswith("WARN: ")), lines[0] if lines else "")
    return _SECRET.sub("***", line.strip())[:200]
