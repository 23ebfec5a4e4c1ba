"""What a test may not leave behind: threads, child processes, open sockets.

A fixture in conftest.py takes a snapshot before each test's own fixtures are set up and compares after they
are torn down, so that what a module or the whole run shares is in the snapshot already. Linux only (/proc);
elsewhere just threads are watched.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

GRACE = 10.0  # seconds for what is ending already: a closed connection's last callback, a killed child


@dataclass(slots=True)
class Snapshot:
    """What exists now: threads as objects (numbers are reused), pids, and inodes of open sockets."""

    threads: set[threading.Thread] = field(default_factory=set)
    children: set[int] = field(default_factory=set)
    sockets: set[str] = field(default_factory=set)

    def __sub__(self, other: Snapshot) -> Snapshot:
        return Snapshot(self.threads - other.threads, self.children - other.children, self.sockets - other.sockets)

    def __or__(self, other: Snapshot) -> Snapshot:
        return Snapshot(self.threads | other.threads, self.children | other.children, self.sockets | other.sockets)

    def __bool__(self) -> bool:
        return bool(self.threads or self.children or self.sockets)


def snapshot() -> Snapshot:
    """Look at this process."""
    return Snapshot(set(threading.enumerate()), _children(), set(_sockets()))


def leaked(before: Snapshot, grace: float = GRACE) -> list[str]:
    """One line for everything that exists now and did not ``before``; waits up to ``grace`` seconds for it to end."""
    deadline = time.monotonic() + grace
    collected = False
    while new := snapshot() - before:
        if time.monotonic() > deadline:
            return _describe(new)
        if not collected:
            gc.collect()  # a socket in a reference cycle closes here, and its ResourceWarning is an error of its own
            collected = True
        for thread in new.threads:
            thread.join(0.02)
        time.sleep(0.01)
    return []


def _children() -> set[int]:
    """Direct children, also those that have ended and were not waited for."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            found |= {int(pid) for pid in listing.read_text().split()}
        except OSError:
            continue  # that thread has just ended
    # multiprocessing keeps its resource tracker until the interpreter ends.
    return {pid for pid in found if "resource_tracker" not in _command(pid)}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _sockets() -> dict[str, int]:
    """Inode → descriptor of every open socket."""
    found = {}
    folder = "/proc/self/fd"
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue  # the descriptor of the listing itself
        if target.startswith("socket:"):
            found[target] = int(name)
    return found


def _addresses(descriptor: int) -> str:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            try:
                return f"{twin.getsockname()} -> {twin.getpeername()}"
            except OSError:
                return f"{twin.getsockname()}"
    except OSError:
        return "already closed"


def _describe(new: Snapshot) -> list[str]:
    descriptors = _sockets()
    lines = [f"thread {thread.name}" for thread in new.threads]
    lines += [f"child process {pid}: {_command(pid) or 'ended, but never waited for'}" for pid in new.children]
    lines += [f"{inode} {_addresses(descriptors[inode])}" for inode in new.sockets if inode in descriptors]
    return sorted(lines)


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended: whoever inherits it may be slow to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
