"""Machines that the clusters have and the portal does not know yet."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from cyberlab.auth.access import Action
from cyberlab.db import vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import reads
from cyberlab.db.errors import Conflict
from cyberlab.db.models import VmKind
from cyberlab.db.text import fold, search_words
from cyberlab.handlers.admin import AdminHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.machines import ask
from cyberlab.phrases import Phrase
from cyberlab.problems import Problem

PATIENCE = 3.0  # seconds: this page is about the clusters' answers, but waits no longer for one
AT_MOST = 200  # machines on one page
_REFERENCE = re.compile(r"([a-z0-9-]{1,32})/([0-9]{3,9})")


@dataclass(frozen=True, slots=True)
class Found:
    """A machine as its cluster describes it."""

    cluster: str
    vmid: int
    kind: VmKind
    node: str
    name: str

    @property
    def reference(self) -> str:
        """How the form names it."""
        return f"{self.cluster}/{self.vmid}"


@requires(Action.ADMINISTER)
class ImportVmsHandler(AdminHandler):
    """Choosing among them."""

    async def get(self) -> None:
        """List what is not in the portal."""
        found, problems = await self._inventory()
        unknown = await self.portal.database.run(_unknown, found)
        words = search_words(self.search)
        chosen = [vm for vm in unknown if all(word in fold(f"{vm.name} {vm.reference} {vm.node}") for word in words)]
        self.render("admin/vm_import.html", rows=chosen[:AT_MOST], total=len(chosen), q=self.search, problems=problems)

    async def post(self) -> None:
        """Add those that were ticked, as the cluster describes them now and not as the form says."""
        wanted = {value for value in self.get_body_arguments("vm") if _REFERENCE.fullmatch(value)}
        found, _ = await self._inventory()
        chosen = [vm for vm in found if vm.reference in wanted][:AT_MOST]
        refused = await self.portal.database.run(_add, self.actor, chosen)
        added = len(chosen) - len(refused)
        text = self.translate("%(count)d machine was added.", "%(count)d machines were added.", count=added)
        if len(chosen) < len(wanted):
            text += " " + self.translate("Some are not on the cluster any more.")
        if refused:
            text += " " + self.translate(
                "Not added: %(machines)s.", machines=", ".join(map(self.translate, refused[:3]))
            )
        self.done("/admin/vms" if added else "/admin/vms/import", text)

    async def _inventory(self) -> tuple[list[Found], list[str]]:
        clusters = list(self.portal.clusters.values())
        max_age = self.portal.config.inventory_max_age
        answers = await asyncio.gather(*(ask(cluster, max_age, PATIENCE) for cluster in clusters))
        found: list[Found] = []
        problems: list[str] = []
        for cluster, answer in zip(clusters, answers, strict=True):
            if isinstance(answer, Problem):
                problems.append(f"{cluster.name}: {self.translate(answer.advice.title)}")
                continue
            found += [
                Found(cluster.name, vm.vmid, VmKind(vm.kind), vm.node, vm.name)
                for vm in answer.resources.values()
                if not vm.template
            ]
        return sorted(found, key=lambda vm: (vm.name, vm.cluster, vm.vmid)), problems


@reads
def _unknown(s: Session, found: Sequence[Found]) -> list[Found]:
    known = vms.references(s)
    return [vm for vm in found if (vm.cluster, vm.vmid) not in known]


def _add(s: Session, actor: Actor, chosen: Sequence[Found]) -> list[str]:
    """Add all of them in one transaction; return those that the portal cannot hold, with the reason."""
    refused: list[str] = []
    for vm in chosen:
        try:
            vms.ensure(s, actor, cluster=vm.cluster, vmid=vm.vmid, kind=vm.kind, node=vm.node, name=vm.name)
        except Conflict as conflict:
            refused.append(Phrase("%(machine)s (%(why)s)", machine=vm.reference, why=conflict.message))
    return refused
