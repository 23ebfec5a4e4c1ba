"""The steps of `check`, in the order of a console; each is one function, and all share a Walk."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cyberlab import problems
from cyberlab.cli_check_certificate import described
from cyberlab.cli_check_picture import Screen, first_picture, server_init
from cyberlab.cli_check_report import count
from cyberlab.console import terminal, vnc
from cyberlab.console.upstream import Target, UpstreamLink, connect
from cyberlab.db.models import Vm, VmKind
from cyberlab.handlers.vm_source import VmSource, has_terminal
from cyberlab.problems import Problem
from cyberlab.proxmox.answers import Resource
from cyberlab.proxmox.cluster import Cluster, ConsoleTicket, Inventory
from cyberlab.proxmox.minting import TICKET_USER

_SSH_SECONDS = 8.0
_SPARE = 10.0  # seconds that a step has beyond the deadlines of the calls in it
_CLOCKS = 10  # seconds that two clocks may differ
_STAMP = re.compile(r"PVE(?:VNC|:[^:]+):([0-9A-F]{8})::")  # of a ticket, of a cookie

Turns = defaultdict[int, asyncio.Lock]  # by VMID: two consoles that open at once replace each other's password


@dataclass(slots=True)
class Walk:
    """What the steps share: each leaves here what those behind it need."""

    cluster: Cluster
    vmid: int | None  # None: any that runs
    patience: float  # seconds for each step of the handshake
    node: str = ""  # as the settings call it
    turns: Turns = field(default_factory=lambda: defaultdict(asyncio.Lock))
    begun: float = field(default_factory=time.time)
    found: dict[str, object] = field(default_factory=dict)  # what the step that runs has measured
    skew_told: bool = False
    gated: bool = False  # the key may run certain commands alone
    warnings: list[str] = field(default_factory=list)  # of the step that runs
    explain: Callable[[], Awaitable[Problem | None]] | None = None  # the cluster's word on the VM, once it is chosen
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    inventory: Inventory = field(init=False)
    here: str = ""  # the node that SSH leads to
    cookie: str = ""
    terminal: bool = False  # the machine is a container
    source: VmSource = field(init=False)
    ticket: ConsoleTicket = field(init=False)
    target: Target = field(init=False)
    link: UpstreamLink = field(init=False)
    screen: Screen = field(init=False)


async def _ssh(walk: Walk) -> list[str]:
    settings = walk.cluster.settings
    if not settings.needs_ssh:
        walk.here = walk.node
        return ["not needed: this cluster is asked over HTTPS alone"]
    result = await walk.cluster.ssh.run("hostname", timeout=_SSH_SECONDS, idempotent=True)
    walk.here = result.stdout.strip().partition(".")[0]  # a node's name in Proxmox is its host's
    if walk.node and walk.here != walk.node:
        walk.warnings.append(f"the settings call this node {walk.node}, its own name is {walk.here}")
    return [f"{settings.ssh_user}@{settings.ssh_host}:{settings.ssh_port}; host key known, our key accepted"]


async def _pvesh(walk: Walk) -> list[str]:
    version = await walk.cluster.version()
    health = walk.cluster.health()[0]
    walk.found |= {"version": version, "source": walk.cluster.settings.source, "warm_workers": health.warm}
    if walk.cluster.settings.source == "https":
        return [f"Proxmox VE {version}, asked over HTTPS"]
    if health.cold:
        walk.warnings.append(
            "not kept loaded on the node, so each call falls back to the plain command and costs it 0.6 CPU-seconds: "
            f"{health.cold}"
        )
    return [f"Proxmox VE {version}" + ("; kept loaded on the node" if health.warm else "")]


async def _inventory(walk: Walk) -> list[str]:
    cluster = walk.cluster
    walk.inventory = inventory = await cluster.resources(0.0)
    nodes = await cluster.api.nodes()
    machines = [found for found in inventory.resources.values() if found.kind == "qemu"]
    running = sum(found.status == "running" for found in machines)
    offline = sorted(name for name, status in nodes.items() if status != "online")
    walk.found |= {"nodes": len(nodes), "nodes_offline": offline}
    if offline:
        walk.warnings.append(f"offline: {', '.join(offline)}; no console opens there")
    containers = len(inventory.resources) - len(machines)
    return [
        f"{count(len(machines), 'VM')} ({running} running), {count(containers, 'container')}, "
        f"{count(len(nodes), 'node')}"
    ]


async def _cookie(walk: Walk) -> list[str]:
    settings = walk.cluster.settings
    walk.cookie = await walk.cluster.auth_cookie()
    _compare_clocks(walk, walk.cookie)
    if settings.by_token:
        return [f"none: the API token {settings.token_name} takes its place"]
    if settings.password.get_secret_value():
        return [f"{settings.user} signed in with PROXMOX_PASSWORD"]
    user = settings.user if settings.source == "https" else settings.console_user or TICKET_USER
    return [f"made over SSH for {user}"]


async def _vm(walk: Walk) -> list[str]:
    cluster, asked = walk.cluster, walk.vmid
    vm = _first_running(walk) if asked is None else walk.inventory.resources.get(asked)
    if vm is None:
        raise Problem(problems.VM_GONE, f"{cluster.name}/{asked} is not in the inventory")
    label = f"{cluster.name}/{vm.vmid}"
    if trouble := await cluster.explain(vm.node, vm.kind, vm.vmid):
        raise trouble
    if vm.lock:
        walk.warnings.append(f"{label} is locked ({vm.lock})")

    async def moved(node: str) -> None:
        walk.warnings.append(f"{label} has just moved to {node}")

    # Held until the walk ends: consoles of one machine that open at the same time take the password from each other.
    turn = walk.turns[vm.vmid]
    await turn.acquire()
    walk.closing.callback(turn.release)
    row = Vm(cluster=cluster.name, vmid=vm.vmid, kind=VmKind(vm.kind), node=vm.node, name=vm.name)
    walk.terminal = has_terminal(row)
    walk.source = VmSource(cluster, row, moved)
    walk.explain = walk.source.explain
    chosen = "" if asked is not None else " (chosen here)"
    return [f"{label} {vm.name} runs on {vm.node}{chosen}"]


def _first_running(walk: Walk) -> Resource:
    """Preferably on the node that SSH leads to, where least stands between."""
    machines = [found for found in walk.inventory.resources.values() if found.kind == "qemu"]
    running = [found for found in machines if found.status == "running"]
    if not running:
        raise Problem(problems.VM_STOPPED, f"none of the {len(machines)} VMs of {walk.cluster.name} runs")
    return min(running, key=lambda found: (found.node != walk.here, found.vmid))


async def _ticket(walk: Walk) -> list[str]:
    walk.ticket = ticket = await walk.source.ticket()
    _compare_clocks(walk, ticket.ticket)
    if walk.terminal:
        return [f"for a terminal; {_opened(walk)}"]
    # Before the hardening, the VNC password was the beginning of the ticket.
    old = ticket.ticket.startswith("PVEVNC:") and ticket.password == ticket.ticket[: len(ticket.password)]
    walk.found["ticket_format"] = "old" if old else "new"
    form = "old format, from before April 2026" if old else "new format"
    return [f"{form}; {_opened(walk)}"]


def _opened(walk: Walk) -> str:
    ticket = walk.ticket
    if walk.cluster.settings.source == "https":
        return f"asked over HTTPS, {ticket.node_host} opened port {ticket.port}"
    return f"pvesh ran on {ticket.node_host} and opened port {ticket.port}"


def _compare_clocks(walk: Walk, signed: str) -> None:
    """Warn of a node whose clock differs; ``signed``: a cookie or ticket that it has made during this walk."""
    match = _STAMP.search(signed)
    if match is None:
        return
    stamp, now = int(match[1], 16), time.time()
    skew = stamp - int(walk.begun) if stamp < int(walk.begun) else max(0, stamp - int(now))
    walk.found["clock_skew"] = skew
    if abs(skew) > _CLOCKS and not walk.skew_told:
        walk.skew_told = True
        walk.warnings.append(
            f"the clock of {walk.here or walk.node or 'the node'} is {abs(skew)} s "
            f"{'ahead of' if skew > 0 else 'behind'} this machine's; compare both with `timedatectl`"
        )


async def _tls(walk: Walk) -> list[str]:
    walk.target = await walk.source.target_for(walk.ticket, walk.cookie)
    walk.link = await connect(walk.target)
    walk.closing.callback(walk.link.abort)
    certificate = walk.link.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    said, warnings = described(certificate, walk.ticket, walk.cluster.settings_behind(walk.ticket), walk.found)
    walk.warnings += warnings
    return said


async def _websocket(walk: Walk) -> list[str]:
    await walk.link.upgrade(walk.target)
    return [f"open at {urlsplit(walk.target.resource).path.removeprefix('/api2/json')}"]


async def _vnc(walk: Walk) -> list[str]:
    if walk.terminal:
        await terminal.authenticate(walk.link, walk.target)
        return ["a terminal: termproxy accepted the ticket"]
    await vnc.authenticate(walk.link, walk.target.vnc_password)
    return ["the ticket's VNC password accepted"]


async def _screen(walk: Walk) -> list[str]:
    if walk.terminal:
        return ["a container has a terminal instead"]
    walk.screen = screen = await server_init(walk.link)
    return [f"{screen.width} × {screen.height}, “{screen.name}”"]


async def _pixels(walk: Walk) -> list[str]:
    if walk.terminal:
        return ["none wanted: a terminal may well be silent"]
    picture = await first_picture(walk.link, walk.screen)
    shows = "all black: its screen may sleep, or show nothing yet" if picture.black else "not black"
    return [f"{picture.size} bytes in {count(picture.rectangles, 'rectangle')}, {shows}"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``silence`` is what it means when its deadline passes."""

    name: str
    run: Callable[[Walk], Awaitable[list[str]]]
    needs: tuple[str, ...]
    silence: str

    def seconds(self, walk: Walk) -> float:
        """Its deadline: calls of pvesh end by themselves and say more, so this is the net under them."""
        if self.silence in (problems.SSH_REFUSED, problems.PVESH_TIMEOUT):
            return 2 * walk.cluster.settings.pvesh_timeout + _SPARE
        return walk.patience


WAY = (
    Step("SSH", _ssh, (), problems.SSH_REFUSED),
    Step("pvesh", _pvesh, ("SSH",), problems.PVESH_TIMEOUT),
    Step("inventory", _inventory, ("pvesh",), problems.PVESH_TIMEOUT),
    Step("auth cookie", _cookie, ("pvesh",), problems.PVESH_TIMEOUT),
    Step("VM", _vm, ("inventory",), problems.PVESH_TIMEOUT),
    Step("ticket", _ticket, ("VM",), problems.PVESH_TIMEOUT),
    Step("TLS", _tls, ("ticket",), problems.API_UNREACHABLE),
    Step("websocket", _websocket, ("auth cookie", "TLS"), problems.UPSTREAM_SILENT),
    Step("VNC sign-in", _vnc, ("websocket",), problems.UPSTREAM_SILENT),
    Step("screen", _screen, ("VNC sign-in",), problems.UPSTREAM_SILENT),
    Step("first pixels", _pixels, ("screen",), problems.UPSTREAM_SILENT),
)
