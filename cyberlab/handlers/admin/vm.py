"""One machine: what is known of it, who has it, who looks at it, and what can be done with it."""

from __future__ import annotations

import asyncio

from cyberlab.auth.access import Action
from cyberlab.db import consoles, vm_list, vms
from cyberlab.db.errors import NotFound
from cyberlab.db.models import Vm
from cyberlab.handlers.admin.base import AdminHandler
from cyberlab.handlers.admin.edit import EditHandler
from cyberlab.handlers.admin.vms import ACTS, LIST
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import Form
from cyberlab.handlers.machines import report
from cyberlab.problems import PVESH_TIMEOUT, SSH_REFUSED, UNASSIGNED, Problem
from cyberlab.proxmox.cluster import Snapshot

PATIENCE = 20.0  # seconds for the node's list of snapshots
LAST = 10  # console sessions


class VmHandler(AdminHandler):
    """A page about one machine."""

    async def found(self, vm_id: str) -> Vm:
        """The machine, or NotFound."""
        vm = await self.portal.database.run(vms.get, int(vm_id))
        if vm is None:
            raise NotFound(f"VM {vm_id}")
        return vm


@requires(Action.ADMINISTER)
class EditVmHandler(VmHandler, EditHandler[Vm, str]):
    """All about it, and the name that it has here."""

    def shown(self, row: Vm) -> dict[str, str]:
        """The name."""
        return {"name": row.name}

    def read(self, form: Form, row: Vm) -> str:
        """The name; none means the cluster's."""
        return form.text("name", required=False)

    async def save(self, row: Vm, given: str, version: int) -> None:
        """Rename it."""
        vm = await self.portal.database.run(vms.rename, self.actor, row.id, given, version)
        self.done(f"{LIST}/{vm.id}", self.translate("Machine %(machine)s was saved.", machine=vm.name or vm.vmid))

    async def show(self, form: Form, row: Vm) -> None:
        """Show the page."""
        run = self.portal.database.run
        past = await run(consoles.page, vm_id=row.id, walls=False, limit=LAST)
        self.render(
            "admin/vm.html",
            form=form,
            machine=row,
            tags=[tag for tag in row.tags.split(";") if tag],
            holders=await run(vm_list.holders, row.id),
            past=past,
            left_out=0 if past.rows else (await run(consoles.page, vm_id=row.id, limit=1)).total,
            acts=ACTS,
            viewers=[console for console in self.portal.registry if console.request.vm_id == row.id],
        )


@requires(Action.ADMINISTER)
class VmStateHandler(VmHandler):
    """The state of one machine."""

    answers_json = True

    async def get(self, vm_id: str) -> None:
        """Answer as for lists."""
        self.send_json(await report(self.portal, [await self.found(vm_id)], self.translate))


@requires(Action.ADMINISTER)
class SnapshotsHandler(VmHandler):
    """A machine's snapshots, asked of its node: a part that its page fetches after it has been drawn."""

    async def get(self, vm_id: str) -> None:
        """List them, or say why not."""
        vm = await self.found(vm_id)
        found: list[Snapshot] = []
        problem: Problem | None = None
        try:
            cluster = self.portal.clusters.get(vm.cluster)
            if cluster is None:
                raise Problem(SSH_REFUSED, f"no cluster {vm.cluster!r} in the settings")
            async with asyncio.timeout(PATIENCE):
                found = await cluster.snapshots(vm.node, vm.kind.value, vm.vmid)
        except Problem as error:
            problem = error
        except TimeoutError:
            problem = Problem(PVESH_TIMEOUT, f"no snapshots of {vm.label} within {PATIENCE:.0f} s")
        self.render("admin/vm_snapshots.html", machine=vm, found=found, problem=problem)


@requires(Action.ADMINISTER)
class RemoveVmHandler(VmHandler):
    """Removing from the portal, after a question."""

    async def get(self, vm_id: str) -> None:
        """Ask."""
        self._ask(await self.found(vm_id))

    async def post(self, vm_id: str) -> None:
        """Remove, unless somebody has changed it since the question."""
        vm = await self.found(vm_id)
        version = self.get_body_argument("version", "")
        if version != str(vm.version):
            return self._ask(vm, 422, self.translate("Somebody has changed this machine meanwhile. Still remove it?"))
        await self.portal.database.run(vms.delete, self.actor, vm.id)
        self.portal.registry.end(UNASSIGNED, lambda console: console.vm_id == vm.id)
        self.done(LIST, self.translate("Machine %(machine)s was removed from the portal.", machine=vm.name or vm.vmid))

    def _ask(self, vm: Vm, status: int = 200, problem: str = "") -> None:
        self.confirm(
            title=self.translate("Remove %(machine)s from the portal?", machine=vm.name or vm.vmid),
            text=self.translate(
                "Its assignments go with it, and open consoles end. On the cluster nothing changes: a machine that is "
                "still there comes back into the list within a minute, without its assignments."
            ),
            button=self.translate("Remove the machine"),
            back=f"{LIST}/{vm.id}",
            status=status,
            problem=problem,
            hidden={"version": str(vm.version)},
        )
