"""What the simulated cluster consists of: nodes, guests' configurations, snapshots, users. No I/O."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field

from cyberlab.simulator.refusal import Refusal, conf_missing

MIB = 1024 * 1024
ROOT = "root@pam"


@dataclass(slots=True)
class Node:
    """A member of the cluster; ``known``: pvestatd has reported it, so that lists show its load.

    ``skew``: seconds by which its clock is ahead.
    """

    name: str
    address: str
    online: bool = True
    known: bool = True
    skew: float = 0.0


@dataclass(slots=True)
class Snapshot:
    """A snapshot; ``taken``: seconds since the epoch."""

    name: str
    taken: int
    description: str = ""
    vmstate: bool = False
    parent: str = ""


@dataclass(slots=True)
class Vm:
    """A QEMU machine or an LXC container, as its configuration and pvestatd know it."""

    vmid: int
    node: str
    name: str
    kind: str = "qemu"
    running: bool = False
    lock: str = ""
    tags: str = ""
    pool: str = ""
    disk: int = 0
    memory: int = 128
    known: bool = True
    paused: bool = False
    started: float = field(default_factory=time.time)
    created: int = 1_795_349_493
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    parent: str = ""
    newest_only: bool = False  # its disks are on ZFS, which goes back to the newest snapshot alone

    @property
    def title(self) -> str:
        """How Proxmox's messages call this kind."""
        return "VM" if self.kind == "qemu" else "CT"

    @property
    def uptime(self) -> int:
        """Seconds since the power went on, 0 when off."""
        return int(time.time() - self.started) if self.running else 0

    @property
    def digest(self) -> str:
        """The SHA-1 that Proxmox gives a configuration, to notice concurrent edits."""
        facts = [self.vmid, self.name, self.lock, self.tags, sorted(self.snapshots), self.parent]
        return hashlib.sha1(json.dumps(facts).encode(), usedforsecurity=False).hexdigest()

    def check_lock(self) -> None:
        """Raise Refusal when a backup or the like holds the configuration."""
        if self.lock:
            raise Refusal(f"{self.title} is locked ({self.lock})")


@dataclass(slots=True)
class User:
    """A user of the cluster: ``permissions`` maps a path such as /vms/100 to privileges.

    ``second_factor``: the code that completes a sign-in by password; empty: none is asked for.
    """

    userid: str
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    enabled: bool = True
    permissions: dict[str, frozenset[str]] = field(default_factory=dict)
    second_factor: str = field(default="", repr=False)

    @property
    def realm(self) -> str:
        """The part behind the @."""
        return self.userid.rpartition("@")[2]

    def may(self, path: str, privilege: str) -> bool:
        """Whether this user holds the privilege there; root@pam holds all."""
        return self.userid == ROOT or _granted(self.permissions, path, privilege)


def _granted(permissions: dict[str, frozenset[str]], path: str, privilege: str) -> bool:
    """The entry nearest to the path counts, and hides those above it (PVE/AccessControl.pm, roles)."""
    while path not in permissions:
        if path == "/":
            return False
        path = path.rpartition("/")[0] or "/"
    return privilege in permissions[path]


@dataclass(slots=True)
class ClusterState:
    """The whole cluster as pmxcfs would share it; ``here`` is the node that SSH and the web port lead to
    where only one does.

    ``tokens``: secrets by full id (``gw@pve!t1``). A token in ``token_permissions`` has what those and its user's both
    grant (privilege separation); any other has all that its user has.
    """

    nodes: dict[str, Node]
    vms: dict[int, Vm]
    users: dict[str, User]
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    token_permissions: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)
    here: str = "pve1"
    name: str = "demo"

    def vm(self, node: str, kind: str, vmid: int) -> Vm:
        """The guest at that path, or Refusal: a configuration lives under exactly one node."""
        vm = self.vms.get(vmid)
        if vm is None or vm.node != node or vm.kind != kind:
            raise conf_missing(node, kind, vmid)
        return vm

    def may(self, actor: str, path: str, privilege: str) -> bool:
        """Whether a user, or a token by its full id, holds the privilege on that path."""
        user = self.users.get(actor.partition("!")[0])
        if user is None or not user.enabled or not user.may(path, privilege):
            return False
        separate = self.token_permissions.get(actor)
        return separate is None or _granted(separate, path, privilege)

    def add(self, vm: Vm) -> None:
        """Put a guest into the cluster, replacing one of the same id."""
        self.vms[vm.vmid] = vm


CONSOLE_USER = frozenset({"VM.Audit", "VM.Backup", "VM.Console", "VM.PowerMgmt"})


def classroom(name: str, nodes: int, machines: int) -> ClusterState:
    """``nodes`` nodes, pve1 and so on, with ``machines`` machines that run, from VMID 100 on, dealt out in turn."""
    members = [Node(f"pve{number}", f"192.0.2.{number + 1}") for number in range(1, nodes + 1)]
    vms = [
        Vm(100 + number, members[number % nodes].name, f"{name}-{number:03d}", running=True)
        for number in range(machines)
    ]
    users = [User("gw@pve"), User("console@pve", permissions={"/vms": frozenset({"VM.Console"})}), User(ROOT)]
    return ClusterState(
        {node.name: node for node in members},
        {vm.vmid: vm for vm in vms},
        {user.userid: user for user in users},
        name=name,
    )


def demo_cluster() -> ClusterState:
    """Two nodes that work and one that is offline, and a guest in every state that a student may meet."""
    nodes = [Node("pve1", "192.0.2.2"), Node("pve2", "192.0.2.3"), Node("pve3", "192.0.2.4", online=False)]
    lesson = Snapshot("lesson1", 1_795_350_684, "start of lesson")
    vms = [
        Vm(100, "pve1", "kali-07", running=True, tags="netsec;student"),
        Vm(101, "pve1", "metasploit-2"),
        Vm(102, "pve2", "web-02", running=True),
        Vm(103, "pve1", "db-server", disk=1024 * MIB, snapshots={"lesson1": lesson}, parent="lesson1"),
        Vm(104, "pve1", "backup-busy", lock="backup"),
        Vm(105, "pve1", "win-client", running=True),
        Vm(200, "pve3", "far-away", running=True),
        Vm(300, "pve1", "lxc-proxy", kind="lxc", running=True),
    ]
    users = [
        User("gw@pve"),
        User("low@pve", permissions={"/vms/100": CONSOLE_USER}),
        User("root@pam"),
    ]
    return ClusterState(
        {node.name: node for node in nodes}, {vm.vmid: vm for vm in vms}, {user.userid: user for user in users}
    )


def add_lab(state: ClusterState, count: int) -> None:
    """``count`` machines lab-01 and so on, on the nodes that are online in turn; those with odd numbers run.

    Each has two snapshots to go back to, lesson-1 and lesson-2.
    """
    nodes = [node.name for node in state.nodes.values() if node.online]
    for number in range(1, count + 1):
        snapshots = {
            "lesson-1": Snapshot("lesson-1", 1_795_350_684, "as installed"),
            "lesson-2": Snapshot("lesson-2", 1_795_437_084, parent="lesson-1"),
        }
        name = f"lab-{number:02d}"
        vm = Vm(400 + number, nodes[number % len(nodes)], name, running=number % 2 == 1, tags="lab")
        vm.snapshots, vm.parent = snapshots, "lesson-2"
        state.add(vm)
