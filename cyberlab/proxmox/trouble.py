"""What goes wrong on Proxmox's side: its words, and what they mean."""

from __future__ import annotations

import re

from cyberlab import problems
from cyberlab.problems import Problem

_SECRET = re.compile(r".{8}:PVEVNC:\S+|PVE(?:VNC|AuthCookie|APIToken)?[:=]\S+")

# What pvesh says on stderr, or the API as its reason phrase, and what it means; the first that is found counts.
_MEANINGS: tuple[tuple[str, str], ...] = (
    ("unable to find free port", problems.NO_FREE_PORT),
    (".conf' does not exist", problems.VM_GONE),
    ("is locked (", problems.VM_LOCKED),
    ("can't lock file", problems.VM_LOCKED),
    ("not running", problems.VM_STOPPED),
    ("snapshot '", problems.SNAPSHOT_GONE),  # "snapshot 'x' does not exist", a task's end
    ("not most recent snapshot", problems.SNAPSHOT_NOT_NEWEST),  # PVE/Storage/ZFSPoolPlugin.pm
    ("powerdown failed", problems.SHUTDOWN_IGNORED),
    ("container did not stop", problems.SHUTDOWN_IGNORED),  # PVE/LXC.pm, vm_stop
    ("is paused - cannot shutdown", problems.SHUTDOWN_IGNORED),
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


class Unreachable(Problem):
    """Nothing was asked, as there was no connection: another node may be asked instead."""


def same(problem: Problem) -> Problem:
    """The same problem for somebody else: an exception that is raised twice grows a traceback of all of them."""
    return Problem(problem.code, problem.detail)


def meaning(text: str, usual: str = problems.PVESH_FAILED) -> str:
    """The catalogue's code for what pvesh said on stderr, or a task as its exit status; ``usual``: if unknown."""
    lowered = text.lower()
    return next((code for words, code in _MEANINGS if words in lowered), usual)


def said(stderr: str) -> str:
    """The line that tells the cause: the first, but for perl's complaints about the locale and warnings.

    Of parameters that do not fit, the next one as well: it names the first of them.
    """
    lines = [line for line in stderr.split("\n") if line.strip()]
    complaints = [index for index, line in enumerate(lines) if line.startswith("perl: warning:")]
    after = lines[complaints[-1] + 1 :] if complaints else lines
    causes = [line for line in after if not line.startswith("WARN: ")] or lines[:1]
    return plain(" ".join(causes[: 2 if causes[:1] == ["400 Parameter verification failed."] else 1]))


def plain(text: str) -> str:
    """A line from Proxmox for our log, without anything secret."""
    return _SECRET.sub("***", text.strip())[:200]
