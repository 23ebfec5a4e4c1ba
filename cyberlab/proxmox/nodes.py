"""The nodes of a cluster: which of them is asked, and which of them are out of reach.

What is about a machine is asked on its own node, as there no further hop can hang; on any other one while that cannot
be reached. One that is out of reach is tried again by one task with growing pauses, not by everybody who waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.admission import PORTAL, Admission, Caller, GoHome
from cyberlab.proxmox.calls import Api
from cyberlab.proxmox.https import HttpsApi
from cyberlab.proxmox.passes import Passes
from cyberlab.proxmox.pvesh import Pvesh
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.tls import Trust
from cyberlab.proxmox.trouble import Unreachable, same
from cyberlab.proxmox.warm import WarmPvesh
from cyberlab.proxmox.web import Web
from cyberlab.settings import ClusterSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

RECOVERY_SECONDS = 6.0  # how long a console waits for an only node: a restart of sshd takes less
_FIRST_PAUSE, _LAST_PAUSE = 0.4, 3.0  # seconds between two attempts to reach a node
_LONG_AFTER, _LONG_PAUSE = 120.0, 15.0  # later on, or with a key that is refused: sshd's log is read by people
# What passes by itself: a restart, a reboot, a cable.
_PASSING = (problems.SSH_REFUSED, problems.API_UNREACHABLE)


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """How one node is, for pages and metrics; ``trouble``: why it cannot be reached, None if it can.

    ``warm``: how many processes keep pvesh loaded there; ``cold``: why none does, where one should.
    """

    name: str
    host: str
    trouble: Problem | None
    working: int
    waiting: int
    warm: int = 0
    cold: str = ""
    connections: int = 0  # over SSH


class Node:
    """One node: the ways to it, and the line in front of it."""

    def __init__(self, name: str, settings: ClusterSettings, access: Access) -> None:
        """``name``: in Proxmox; '' until the node's first answer tells it. Nothing connects before the first call."""
        self.name = name
        self.settings = settings
        self.ssh = SshPool(settings)
        self.web = Web(settings)
        self.warm = WarmPvesh(self.ssh, settings.warm_workers, settings.host)
        self.pvesh = Pvesh(self.ssh, self.warm, settings.pvesh_timeout)
        self.api: Api = self.pvesh
        if settings.source == "https":
            self.api = HttpsApi(self.web, lambda: access.trust(self), access.passes, settings.pvesh_timeout)
        self.admission = Admission(settings.calls_at_once)
        self.trouble: Problem | None = None
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def fell(self, problem: Problem, recovered: Callable[[], None]) -> None:
        """It could not be reached: nobody asks it until it can be again, and then ``recovered`` is called."""
        if self.trouble is None:
            self._since = time.monotonic()
            log.warning("%s: %s cannot be reached: %s", self.settings.cluster, self._label, problem)
        self.trouble = same(problem)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._try_again(recovered))

    @property
    def _label(self) -> str:
        return self.name or self.settings.host

    def hurry(self) -> None:
        """Somebody waits for it."""
        self._hurry.set()

    async def _try_again(self, recovered: Callable[[], None]) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._rest(pause * random.uniform(0.7, 1.3))  # noqa: S311 - no secret: not all portals at once
            try:
                await self.api.probe()
                break
            except Problem as problem:
                self.trouble = same(problem)
                brief = problem.code in _PASSING and time.monotonic() - self._since < _LONG_AFTER
                pause = min(_LAST_PAUSE if brief else _LONG_PAUSE, 2 * pause)
            except Exception:
                log.exception("%s: looking at %s failed", self.settings.cluster, self._label)
                pause = _LONG_PAUSE
        self.trouble = self._task = None
        self.admission.begin_slowly()
        log.info("%s: %s can be reached again", self.settings.cluster, self._label)
        recovered()

    async def _rest(self, pause: float) -> None:
        """A pause, shorter while somebody waits, but never so short that a node in trouble is kept busy by us."""
        shortest = min(pause, _FIRST_PAUSE if self.trouble and self.trouble.code in _PASSING else _LAST_PAUSE)
        self._hurry.clear()
        await asyncio.sleep(shortest)
        if pause > shortest:
            try:
                async with asyncio.timeout(pause - shortest):
                    await self._hurry.wait()
            except TimeoutError:
                pass

    def close(self) -> None:
        """End the connections (blocking; called from the loop)."""
        if self._task is not None:
            self._task.cancel()
        self.admission.close()
        self.web.close()
        self.warm.close()
        self.ssh.close()


class Access(Protocol):
    """Who asks, and whom we believe."""

    passes: Passes

    async def trust(self, node: Node) -> Trust:
        """What to verify that node's web port against; raise Problem."""
        ...


class Nodes:
    """All nodes of one cluster that may be asked."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.all = tuple(nodes)
        self._recovered = asyncio.Event()
        self._closed = False

    def named(self, name: str) -> Node | None:
        """The node of that name in Proxmox, if it is one that may be asked."""
        return next((node for node in self.all if node.name == name), None)

    def at(self, host: str) -> Node:
        """The node of that web address; the first one for an unknown."""
        return next((node for node in self.all if node.settings.host == host), self.all[0])

    def health(self) -> list[NodeHealth]:
        """How each node is."""
        return [
            NodeHealth(
                node.name, node.settings.host, node.trouble, node.admission.working, node.admission.waiting,
                node.warm.workers, node.warm.cold, node.ssh.connections,
            )
            for node in self.all
        ]  # fmt: skip

    async def run(
        self, subject: str, work: Callable[[Node], Awaitable[T]], *, caller: Caller = PORTAL, patience: float = 0.0
    ) -> T:
        """Let ``work`` ask a node, when it is the caller's turn there; another one where that cannot be reached.

        ``subject``: the node that the call is about, '' for the cluster. ``patience``: seconds to wait for a node to
        come back when none can be reached. Raises Problem.
        """
        until = time.monotonic() + patience
        tried: set[Node] = set()
        last: Problem | None = None
        while True:
            if self._closed:
                raise Problem(problems.SHUTTING_DOWN)
            node = self._choose(subject, tried)
            if node is None:
                await self._wait(until, last)
                tried.clear()
                continue
            try:
                foreign = bool(subject and node.name) and subject != node.name
                async with node.admission.turn(caller, subject, foreign=foreign):
                    if node.trouble is None:  # it may have been lost while we stood in line
                        return await work(node)
            except GoHome:
                tried.clear()
                continue
            except Unreachable as problem:
                last = problem
                self.fell(node, problem)
            tried.add(node)

    async def first(self, work: Callable[[Node], Awaitable[T]], *, by_the_way: bool = False) -> T:
        """Let ``work`` ask any node without standing in line: for what calls that are in work wait for themselves.

        ``by_the_way``: not by the way that calls go, so that a failure says nothing about that one.
        """
        tried: set[Node] = set()
        trouble: Problem | None = None
        while (node := self._choose("", tried)) is not None:
            try:
                return await work(node)
            except Unreachable as problem:
                trouble = problem
                if not by_the_way:
                    self.fell(node, problem)
                tried.add(node)
        raise same(trouble) if trouble is not None else self._trouble()

    def fell(self, node: Node, problem: Problem) -> None:
        """A node could not be reached."""
        if not self._closed:
            node.fell(problem, lambda: self._back(node))

    def _choose(self, subject: str, tried: set[Node]) -> Node | None:
        """The subject itself, else the one with the shortest line."""
        able = [node for node in self.all if node.trouble is None and node not in tried]
        own = next((node for node in able if node.name and node.name == subject), None)
        return own or min(able, key=lambda node: node.admission.working + node.admission.waiting, default=None)

    def _trouble(self, last: Problem | None = None) -> Problem:
        """Why none can be reached; ``last``: why the last one could not that was asked."""
        found = [node.trouble for node in self.all if node.trouble is not None]
        passing = [problem for problem in found if problem.code in _PASSING]
        return same((passing or found or [last or Problem(problems.SSH_REFUSED, "no node can be reached")])[0])

    async def _wait(self, until: float, last: Problem | None) -> None:
        """Until a node can be reached again; raise Problem if none can in time, or if it takes a person to mend it."""
        for node in self.all:
            node.hurry()
        trouble = self._trouble(last)
        if trouble.code not in _PASSING or (left := until - time.monotonic()) <= 0:
            raise trouble
        if any(node.trouble is None for node in self.all):  # it came back meanwhile, or is about to be noticed
            await asyncio.sleep(min(left, random.uniform(0.2, 0.6)))  # noqa: S311 - no secret: not all at once
            return
        try:
            async with asyncio.timeout(left):
                await self._recovered.wait()
        except TimeoutError:
            raise self._trouble(last) from None

    def _back(self, came: Node | None = None) -> None:
        self._recovered.set()
        self._recovered = asyncio.Event()
        if came is not None and came.name:
            # Or it would stand idle while a whole class waits for it in the lines of the others.
            ahead = came.admission.waiting
            for node in self.all:
                if node is not came:
                    ahead = node.admission.send_home(came.name, ahead)

    def close(self) -> None:
        """End everything (blocking; called from the loop)."""
        self._closed = True
        self._back()
        for node in self.all:
            node.close()
