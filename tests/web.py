"""A portal to test pages with: a real database, real sign-in, and a cluster that says what a test wants."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httputil import HTTPHeaders

from cyberlab.auth.config import AuthConfig, Backends
from cyberlab.auth.local import LocalBackend
from cyberlab.auth.login import LoginService
from cyberlab.auth.passwords import hash_password
from cyberlab.blocking import BlockingPool
from cyberlab.console.registry import Registry
from cyberlab.db import assignments, groups, logins, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import MembershipRole, Role, VmKind
from cyberlab.handlers.portal import Portal
from cyberlab.problems import PVESH_FAILED, Problem
from cyberlab.proxmox.answers import Resource, Snapshot, Upid, VmStatus
from cyberlab.proxmox.inventory import Inventory
from cyberlab.proxmox.nodes import NodeHealth
from cyberlab.settings import Settings

PASSWORD = "correct horse"
XSRF = "0123456789abcdef0123456789abcdef"
TEST = Actor(None, "test")


def resource(vmid: int, name: str, status: str = "running", **more: Any) -> Resource:
    """One guest as Cluster.resources() lists it."""
    return Resource(**{"vmid": vmid, "kind": "qemu", "node": "pve1", "name": name, "status": status, **more})


@dataclass
class FakeCluster:
    """What the pages use of proxmox.Cluster."""

    name: str = "pve"
    found: list[Resource] = field(default_factory=list)
    as_of: datetime = field(default_factory=lambda: datetime.now(UTC))
    problem: Problem | None = None
    hangs: bool = False
    last_inventory: Inventory | None = None
    kept: list[Snapshot] | None = None  # every machine's snapshots
    online: dict[str, str] = field(default_factory=lambda: {"pve1": "online", "pve2": "online"})
    asked: list[tuple[str, int, str]] = field(default_factory=list)  # what was begun: act, VMID, snapshot
    tasks_may_end: asyncio.Event = field(default_factory=asyncio.Event)
    task_problems: dict[int, Problem] = field(default_factory=dict)  # by VMID: how its tasks end
    snapshot_names: dict[int, list[str]] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # something was

    async def resources(self, max_age: float) -> Inventory:
        """The inventory, a Problem, or nothing for ever."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.problem:
            raise self.problem
        self.last_inventory = Inventory(self.as_of, {found.vmid: found for found in self.found})
        return self.last_inventory

    async def status(self, node: str, kind: str, vmid: int) -> VmStatus:
        """As the inventory has it."""
        return VmStatus(next((found.status for found in self.found if found.vmid == vmid), "stopped"))

    async def begin(self, node: str, kind: str, vmid: int, action: str) -> Upid:
        """Note it."""
        return self._begun(node, action, vmid, "")

    def health(self) -> list[NodeHealth]:
        """One way in, and one call on it."""
        return [NodeHealth("pve1", "https://192.0.2.2:8006", None, working=1, waiting=0, warm=2, connections=2)]

    async def nodes(self) -> dict[str, str]:
        """The nodes and their status, a Problem, or nothing for ever."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.problem:
            raise self.problem
        return self.online

    async def version(self) -> str:
        """The version of pve-manager, a Problem, or nothing for ever."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.problem:
            raise self.problem
        return "9.2.1"

    async def rollback(self, node: str, kind: str, vmid: int, name: str, start: bool) -> Upid:
        """Note it."""
        return self._begun(node, "reset", vmid, name)

    def _begun(self, node: str, act: str, vmid: int, snapshot: str) -> Upid:
        if self.problem:
            raise self.problem
        self.asked.append((act, vmid, snapshot))
        self.begun.set()
        return Upid(str(vmid), node)

    async def finish(self, upid: Upid, timeout: float) -> None:
        """End when the test says so, and as it says."""
        await self.tasks_may_end.wait()
        if (problem := self.task_problems.get(int(upid.text))) is not None:
            raise problem

    async def snapshots(self, node: str, kind: str, vmid: int) -> list[Snapshot]:
        """Those that the test has named, a Problem, or nothing for ever."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.problem:
            raise self.problem
        if self.kept is not None:
            return self.kept
        if vmid not in self.snapshot_names:
            raise Problem(PVESH_FAILED)
        return [Snapshot(name) for name in self.snapshot_names[vmid]]


class World:
    """A portal with a student, a teacher of their class, an admin, and three machines.

    "kali" is the student's with the right to start it; "spare" is nobody's; "other" is another student's.
    """

    def __init__(
        self, url: str, auth: AuthConfig | None = None, *, backends: Backends | None = None, **settings: Any
    ) -> None:
        """``auth``: what AUTH_CONFIG would say; without it, what holds without one. ``backends``: made by the test."""
        auth = backends.config if backends else auth or AuthConfig()
        self.config = Settings(
            _env_file=None,
            **{"secret_key": SecretStr("s" * 40), "bcrypt_cost": 4, "database_url": url} | settings,
        )
        self.database = Database(url)
        self.auth_pool = BlockingPool("auth", 2)
        self.cluster = FakeCluster(found=[resource(100, "kali"), resource(101, "spare", "stopped")])
        local = LocalBackend(self.database, self.config.bcrypt_cost)
        self.backends = dataclasses.replace(backends or Backends(auth), password=(local,))
        self.portal = Portal(
            config=self.config,
            database=self.database,
            auth_pool=self.auth_pool,
            logins=LoginService(self.database, self.auth_pool, [local], self.config, auth),
            clusters={"pve": self.cluster},  # type: ignore[dict-item]
            registry=Registry(),
            backends=self.backends,
        )
        self.tokens: dict[str, str] = {}
        self.users: dict[str, int] = {}
        self.vms: dict[str, int] = {}
        self._fill()

    def _fill(self) -> None:
        with self.database.transaction() as s:
            hashed = hash_password(PASSWORD, 4)
            for name, role in (
                ("student", Role.STUDENT),
                ("other", Role.STUDENT),
                ("teacher", Role.TEACHER),
                ("admin", Role.ADMIN),
            ):
                user = users.create(
                    s, TEST, username=name, role=role, password_hash=hashed, display_name=f"A. {name.title()}"
                )
                self.users[name] = user.id
                self.tokens[name] = logins.create(s, user.id, address="", user_agent="", lifetime=3600)
            for vmid, name in ((100, "kali"), (101, "spare"), (102, "other")):
                vm = vms.create(s, TEST, cluster="pve", vmid=vmid, kind=VmKind.QEMU, node="pve1", name=name)
                self.vms[name] = vm.id
            row = assignments.create(s, TEST, vm_id=self.vms["kali"], user_id=self.users["student"], can_power=True)
            self.assignment = row.id
            assignments.create(s, TEST, vm_id=self.vms["other"], user_id=self.users["other"])
            group = groups.create(s, TEST, name="Network security")
            self.group = group.id
            groups.add_member(s, TEST, group.id, self.users["teacher"], MembershipRole.TEACHER)
            groups.add_member(s, TEST, group.id, self.users["student"], MembershipRole.STUDENT)

    def close(self) -> None:
        """End the threads."""
        self.portal.uploads.close()
        self.backends.close()
        self.auth_pool.close()
        self.database.close()


class Client:
    """Asks as somebody, without following redirects; a form comes with its XSRF token unless told otherwise."""

    def __init__(self, http_client: AsyncHTTPClient, base_url: str, world: World) -> None:
        self._http = http_client
        self._base = base_url
        self._world = world

    async def ask(
        self,
        path: str,
        who: str | None = None,
        form: Mapping[str, str | list[str]] | None = None,
        *,
        xsrf: bool = True,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> HTTPResponse:
        """GET, or POST a form; ``who``: a user of the world's, None for nobody."""
        sent = HTTPHeaders({"Accept": "text/html", **(headers or {})})
        cookies = [f"cyberlab={self._world.tokens[who]}"] if who else []
        body = None
        if form is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
            body = urlencode({"_xsrf": XSRF, **form} if xsrf else form, doseq=True)
            cookies.append(f"_xsrf={XSRF}")
        if cookies:
            sent["Cookie"] = "; ".join(cookies)
        return await self._http.fetch(
            self._base + path,
            method=method or ("GET" if form is None else "POST"),
            body=body,
            headers=sent,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            raise_error=False,
        )


def text(response: HTTPResponse) -> str:
    """The body."""
    return response.body.decode()
