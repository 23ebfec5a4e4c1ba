"""Health: the page at once, its parts as their answers come; each is asked with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from platform import python_version
from typing import Any, TypeVar

import cyberlab
from cyberlab.auth.access import Action
from cyberlab.auth.base import Finding
from cyberlab.blocking import PoolBusy
from cyberlab.db import audit
from cyberlab.db.facts import facts
from cyberlab.db.models import AuditEvent
from cyberlab.handlers.admin.base import AdminHandler
from cyberlab.handlers.base import requires
from cyberlab.phrases import Phrase
from cyberlab.problems import PVESH_TIMEOUT, Problem
from cyberlab.proxmox.cluster import Cluster
from cyberlab.proxmox.nodes import NodeHealth

T = TypeVar("T")
PATIENCE = 8.0  # seconds that a cluster or a directory may take
LOOP_SAMPLES = 10
LOOP_PAUSE = 0.02  # seconds
LIBRARIES = ("tornado", "SQLAlchemy", "paramiko", "pydantic")


@dataclass(slots=True)
class ClusterHealth:
    """One cluster as it answers now."""

    name: str
    version: str = ""
    nodes: dict[str, str] = field(default_factory=dict)
    machines: int = 0
    age: float | None = None  # seconds, of the newest inventory
    problem: Problem | None = None
    ways: list[NodeHealth] = field(default_factory=list)  # to each node

    @property
    def away(self) -> list[str]:
        """The nodes that are not online."""
        return sorted(node for node, state in self.nodes.items() if state != "online")


@dataclass(slots=True)
class BackendHealth:
    """One way to sign in; ``findings``: None where there is nothing to ask."""

    name: str
    kind: str
    findings: list[Finding] | None = None
    failed: AuditEvent | None = None  # when it last was not reachable for somebody


async def _answer(asked: Awaitable[T]) -> T | Problem:
    try:
        async with asyncio.timeout(PATIENCE):
            return await asked
    except Problem as problem:
        return problem
    except TimeoutError:
        return Problem(PVESH_TIMEOUT, f"no answer within {PATIENCE:.0f} s")


async def _cluster(cluster: Cluster) -> ClusterHealth:
    found = ClusterHealth(cluster.name)
    version, nodes = await asyncio.gather(_answer(cluster.version()), _answer(cluster.nodes()))
    if isinstance(version, str):
        found.version = version
    if isinstance(nodes, dict):
        found.nodes = nodes
    found.problem = next((each for each in (version, nodes) if isinstance(each, Problem)), cluster.problem)
    if (inventory := cluster.last_inventory) is not None:
        found.machines = len(inventory.resources)
        found.age = inventory.age
    found.ways = cluster.health()
    return found


async def _lag() -> float:
    """How late the IOLoop runs what is due, in seconds: the worst of a few looks."""
    worst = 0.0
    for _ in range(LOOP_SAMPLES):
        begun = time.perf_counter()
        await asyncio.sleep(LOOP_PAUSE)
        worst = max(worst, time.perf_counter() - begun - LOOP_PAUSE)
    return worst


def versions() -> list[tuple[str, str]]:
    """Of the portal and what it stands on."""
    return [("CyberLab", cyberlab.__version__), ("Python", python_version()), *_libraries(LIBRARIES)]


def _libraries(names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, metadata.version(name)) for name in names]


@requires(Action.ADMINISTER)
class HealthPageHandler(AdminHandler):
    """The page; nothing is asked for it."""

    def get(self) -> None:
        """Draw it."""
        self.render("admin/health.html")


@requires(Action.ADMINISTER)
class ClusterHealthHandler(AdminHandler):
    """The clusters."""

    async def get(self) -> None:
        """Ask all of them, side by side."""
        clusters = [cluster for _, cluster in sorted(self.portal.clusters.items())]
        self.render("admin/health_clusters.html", clusters=await asyncio.gather(*map(_cluster, clusters)))


@requires(Action.ADMINISTER)
class SignInHealthHandler(AdminHandler):
    """The ways to sign in."""

    async def get(self) -> None:
        """Ask those that can be asked, side by side."""
        kinds = {config.name: config.kind for config in self.portal.backends.config.backends}
        backends = self.portal.backends
        every = (*backends.password, *backends.redirect, *backends.proxy)
        found = await asyncio.gather(*(self._backend(backend, kinds.get(backend.name, "")) for backend in every))
        self.render("admin/health_sign_in.html", backends=found)

    async def _backend(self, backend: Any, kind: str) -> BackendHealth:
        found = BackendHealth(backend.name, kind)
        found.failed = await self.portal.database.run(audit.newest, "login.unavailable", f"{backend.name}: ")
        reach = getattr(backend, "reach", None)
        if reach is None:
            return found
        try:
            if backend in self.portal.backends.password:
                pool = self.portal.backends.pools.get(backend.name, self.portal.auth_pool)
                found.findings = await pool.run(PATIENCE, reach)
            else:
                async with asyncio.timeout(PATIENCE):
                    found.findings = await reach()
        except (TimeoutError, PoolBusy):
            late = self.translate("no answer within %(seconds)d s", seconds=PATIENCE)
            found.findings = [Finding("answers", False, late)]
        return found


@requires(Action.ADMINISTER)
class PortalHealthHandler(AdminHandler):
    """The portal itself: its loop, its threads, its database, its consoles."""

    async def get(self) -> None:
        """Look."""
        begun = time.perf_counter()
        database = await self.portal.database.run(facts)
        took = time.perf_counter() - begun
        pools = [
            (Phrase("Database"), self.portal.database.load),
            (Phrase("Passwords"), self.portal.auth_pool.load),
            *((name, pool.load) for name, pool in self.portal.backends.pools.items()),
        ]
        self.render(
            "admin/health_portal.html",
            database=database,
            took=took * 1000,
            pools=pools,
            lag=await _lag() * 1000,
            consoles=len(self.portal.registry),
            most=self.portal.config.console_max,
            versions=versions(),
        )
