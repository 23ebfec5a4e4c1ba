"""One machine: what is known of it, who has it, who looks at it, and what can be done with it."""

from __future__ import annotations

import asyncio

from cyberlab.auth.access import Action
from cyberlab.db import consoles, vm_list, vms
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Vm
from cyberlab.handlers.admin import AdminHandler
from cyberlab.handlers.admin_vms import ACTS, LIST
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

    async def show(self, vm: Vm, form: Form) -> None:
        """Show it, with a form that may be wrong."""
        run = self.portal.database.run
        self.set_status(422 if form.errors else 200)
        self.render(
            "admin/vm.html",
            form=form,
            machine=vm,
            tags=[tag for tag in vm.tags.split(";") if tag],
            holders=await run(vm_list.holders, vm.id),
            past=await run(consoles.page, vm_id=vm.id, limit=LAST),
            here=[console for console in self.portal.registry if console.request.vm_id == vm.id],
            acts=ACTS,
        )


@requires(Action.ADMINISTER)
class EditVmHandler(VmHandler):
    """The page, and the name that the machine has here."""

    async def get(self, vm_id: str) -> None:
        """Show it."""
        vm = await self.found(vm_id)
        await self.show(vm, self.filled({"name": vm.name, "version": str(vm.version)}))

    async def post(self, vm_id: str) -> None:
        """Rename it, or show the form again with what is wrong."""
        form, vm = Form.sent(self), await self.found(vm_id)
        name = form.text("name", required=False)
        version = form.number("version", 1, 2**31 - 1)
        if not form.errors:
            try:
                vm = await self.portal.database.run(vms.rename, self.actor, vm.id, name, version=version)
                notice = self.translate("Machine %(machine)s was saved.", machine=vm.name or vm.vmid)
                return self.done(f"{LIST}/{vm.id}", notice)
            except Conflict as conflict:
                form.conflict(conflict)
                vm = await self.found(vm_id)
                form.values = {**form.values, "version": str(vm.version)}
        await self.show(vm, form)


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
