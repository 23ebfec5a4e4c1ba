"""Proxmox's tasks: UPIDs, their status and their log."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

KEPT = 1000


@dataclass(slots=True)
class Task:
    """One worker; ``status`` is empty while it runs, then OK, ``WARNINGS: n`` or the error's text."""

    node: str
    kind: str
    id: str
    user: str
    pid: int
    pstart: int
    starttime: int
    endtime: int = 0
    status: str = ""
    lines: list[str] = field(default_factory=list)

    @property
    def upid(self) -> str:
        """``UPID:node:pid:pstart:starttime:type:id:user:``, numbers as eight hex digits (PVE::Tools upid_encode)."""
        return (
            f"UPID:{self.node}:{self.pid:08X}:{self.pstart:08X}:{self.starttime:08X}:{self.kind}:{self.id}:{self.user}:"
        )

    def facts(self) -> dict[str, object]:
        """What both the list and the status show."""
        return {
            "id": self.id,
            "node": self.node,
            "pid": self.pid,
            "pstart": self.pstart,
            "starttime": self.starttime,
            "type": self.kind,
            "upid": self.upid,
            "user": self.user,
        }

    def log(self) -> list[dict[str, object]]:
        """The log's lines, numbered from 1, with Proxmox's closing line."""
        lines = list(self.lines)
        if self.status and self.status != "OK":
            lines = [*(lines or [""]), f"TASK ERROR: {self.status}"]
        elif self.status:
            lines.append("TASK OK")
        return [{"n": number, "t": text} for number, text in enumerate(lines, 1)]


class Tasks:
    """Every task since the start, the last thousand kept."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._all: dict[str, Task] = {}
        self._pids = itertools.count(os.getpid() % 30_000 + 2000, 5)
        self._clock = clock

    def begin(self, node: str, kind: str, id: str, user: str) -> Task:
        """Start the books on a new task."""
        ticks = int(time.monotonic() * 100) & 0xFFFFFFFF
        task = Task(node, kind, id, user, next(self._pids), ticks, int(self._clock()))
        self._all[task.upid] = task
        while len(self._all) > KEPT:
            del self._all[next(iter(self._all))]
        return task

    def end(self, task: Task, status: str) -> None:
        """Close the books."""
        task.status = status
        task.endtime = int(self._clock())

    def get(self, upid: str) -> Task | None:
        """The task of that UPID."""
        return self._all.get(upid)

    def finished(self, node: str) -> list[Task]:
        """Finished tasks of a node, the last to end first."""
        found = [task for task in reversed(self._all.values()) if task.node == node and task.status]
        return sorted(found, key=lambda task: -task.endtime)

    def active(self, node: str) -> list[Task]:
        """Tasks of a node that still run, the last to start first."""
        return [task for task in reversed(self._all.values()) if task.node == node and not task.status]
