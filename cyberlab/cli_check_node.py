"""The steps of `check` beside the way to a console: what a node allows, and how much of it is used."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from cyberlab import problems
from cyberlab.blocking import BlockingPool
from cyberlab.cli_check_steps import WAY, Step, Walk
from cyberlab.problems import Problem
from cyberlab.proxmox import sshd_limits
from cyberlab.proxmox.answers import node_name
from cyberlab.proxmox.ssh import CHANNELS, SPARE
from cyberlab.proxmox.sshd_limits import SshdLimits

_SECONDS = 8.0
_PORTS = re.compile(r"^\S+\s+\d+\s+\d+\s+\S*:(59\d\d)\s", re.MULTILINE)  # ss -Htan: state, two queues, local address
_FULL = 80  # of a hundred ports
_SEE = ("VM.Audit", "VM.Console")  # without these there is no portal
# What the portal can do without: one of the privileges, and what it is for.
_MORE = {
    ("VM.PowerMgmt",): "switch machines",
    ("VM.Snapshot.Rollback", "VM.Snapshot"): "take them back to a snapshot",
    ("Pool.Audit",): "show the pools that they are in",  # PVE/API2/Cluster.pm, resources
}
_NOBODY = 999_999_999  # the highest VMID that there can be, and nobody's
_GATED = 126  # how a shell, and deploy/cyberlab-gate, says: not allowed


async def _sshd(walk: Walk) -> list[str]:
    settings = walk.cluster.settings
    if not settings.needs_ssh:
        return ["not used"]
    result = await walk.cluster.ssh.run("/usr/sbin/sshd -T", timeout=_SECONDS, idempotent=True)
    walk.gated = result.exit == _GATED
    limits = sshd_limits.told(result.stdout) if result.exit == 0 else None
    if limits is None:
        pool = BlockingPool(f"sshd-{settings.cluster}", 1)
        try:
            limits = await pool.run(_SECONDS, sshd_limits.noticed, settings, CHANNELS + SPARE, _SECONDS - 1)
        finally:
            pool.close()
    walk.found |= {"max_sessions": limits.sessions, "max_startups": limits.startups, "forced_command": walk.gated}
    if limits.sessions < CHANNELS + SPARE:
        walk.warnings.append(
            f"MaxSessions is {limits.sessions}; the portal runs {CHANNELS} commands on a connection, and those that it "
            f"gave up count too: set it to {CHANNELS + SPARE} (the default) or more in sshd_config"
        )
    if limits.startups is not None and limits.startups < settings.ssh_connections:
        walk.warnings.append(
            f"MaxStartups begins to refuse at {limits.startups} connections that have not signed in; the portal opens "
            f"{settings.ssh_connections} at a time: set it to 10:30:100 (the default) in sshd_config"
        )
    return [f"{_words(limits)}{'; the key may run certain commands alone' if walk.gated else ''}"]


def _words(limits: SshdLimits) -> str:
    if limits.startups is not None:
        return f"MaxSessions {limits.sessions}, MaxStartups from {limits.startups} on"
    more = " or more" if limits.sessions >= CHANNELS + SPARE else ""
    return f"MaxSessions {limits.sessions}{more}, as noticed"


async def _ports(walk: Walk) -> list[str]:
    used = await _listening(walk)
    if used is None:
        node = node_name(walk.here or walk.node or "localhost")
        try:
            tasks = await walk.cluster.api.tasks(node)
        except Problem as problem:  # no reason for a console to fail
            return [f"cannot be seen from here ({problem})"]
        used = sum(task.kind.startswith("vnc") and task.status.running for task in tasks)
    walk.found["console_ports_used"] = used
    if used >= _FULL:
        walk.warnings.append(f"only {100 - used} more consoles can open on this node, Proxmox's own included")
    return [f"{used} of the 100 console ports (5900-5999) in use"]


async def _listening(walk: Walk) -> int | None:
    """How many ports the node's own list of sockets shows, None where it may not be asked."""
    if not walk.cluster.settings.needs_ssh or walk.gated:
        return None
    result = await walk.cluster.ssh.run("ss -Htan", timeout=_SECONDS, idempotent=True)
    return len(set(_PORTS.findall(result.stdout))) if result.exit == 0 else None


async def _rights(walk: Walk) -> list[str]:
    settings = walk.cluster.settings
    said: list[str] = []
    if settings.source == "https":
        who = settings.token_name or settings.user
        granted = _granted(await walk.cluster.api.call("get", "/access/permissions"))
        _missing(walk, who, granted, _SEE)
        for any_of, purpose in _MORE.items():
            if granted.isdisjoint(any_of):
                walk.warnings.append(f"{who} lacks {any_of[0]}: the portal cannot {purpose}")
        said.append(f"{who} may look and open consoles")
    elif user := settings.console_user:
        try:
            answer = await walk.cluster.api.call("get", "/access/permissions", {"userid": user})
        except Problem as problem:
            if problem.code not in (problems.PVESH_MISSING, problems.PVESH_FAILED):
                raise
            said.append(f"{user}: this key may not look; the websocket below shows it")
        else:
            _missing(walk, user, _granted(answer), ("VM.Console",))
            said.append(f"{user} may open consoles")
    if walk.gated:
        refused = await _refused(walk)
        walk.found["refused_commands"] = refused
        walk.warnings += [f"the key's forced command refuses to {what}" for what in refused]
        said.append("the key's forced command lets the portal's calls through" if not refused else "")
    return ["; ".join(filter(None, said)) or "everything: root@pam asks"]


def _granted(answer: Any) -> set[str]:
    """The privileges that count for machines: Proxmox answers {path: {privilege: 1}}."""
    paths = answer if isinstance(answer, dict) else {}
    relevant = [held for path, held in paths.items() if path == "/" or path.startswith(("/vms", "/pool"))]
    return {name for held in relevant if isinstance(held, dict) for name in held}


def _missing(walk: Walk, who: str, granted: set[str], wanted: Iterable[str]) -> None:
    missing = [name for name in wanted if name not in granted]
    walk.found["missing_privileges"] = missing
    if missing:
        raise Problem(problems.PERMISSION_DENIED, f"{who} lacks {', '.join(missing)} on any machine")


async def _refused(walk: Walk) -> list[str]:
    """What the key's forced command does not let through, tried on a machine that nobody has."""
    guest = f"/nodes/{node_name(walk.here)}/qemu/{_NOBODY}"
    tail = "--output-format json >/dev/null 2>&1 </dev/null"
    tried = {
        "switch machines": f"setsid -f pvesh create {guest}/status/start {tail}",
        "take machines back to a snapshot": f"setsid -f pvesh create {guest}/snapshot/none/rollback {tail}",
        "list snapshots": f"pvesh get {guest}/snapshot --output-format json",
    }
    refused = []
    for what, line in tried.items():
        with contextlib.suppress(Problem):
            result = await walk.cluster.ssh.run(line, timeout=_SECONDS, idempotent=True)
            refused += [what] if result.exit == _GATED else []
    return refused


_BESIDE = {
    "SSH": Step("sshd", _sshd, ("SSH",), problems.SSH_REFUSED),
    "inventory": Step("ports", _ports, ("pvesh",), problems.PVESH_TIMEOUT),
    "auth cookie": Step("rights", _rights, ("pvesh",), problems.PVESH_TIMEOUT),
}
STEPS = tuple(step for way in WAY for step in (way, _BESIDE.get(way.name)) if step is not None)
