"""Machines: list, edit, remove."""

from __future__ import annotations

from dataclasses import dataclass

from cyberlab.auth.access import Action
from cyberlab.db import vms
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Vm, VmKind
from cyberlab.handlers.admin import ROWS, AdminHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase
from cyberlab.problems import UNASSIGNED

LIST = "/admin/vms"
KINDS = ((VmKind.QEMU.value, Phrase("virtual machine (qemu)")), (VmKind.LXC.value, Phrase("container (lxc)")))


@dataclass(frozen=True, slots=True)
class VmInput:
    """The whole form."""

    cluster: str
    vmid: int
    kind: VmKind
    node: str
    name: str


def vm_input(form: Form) -> VmInput:
    """Read and check it; what is wrong is noted in the form."""
    return VmInput(
        form.text("cluster", longest=32),
        form.number("vmid", 100, 999_999_999),
        form.choice("kind", VmKind),
        form.text("node", longest=63),
        form.text("name", required=False),
    )


class VmHandler(AdminHandler):
    """A page about one machine."""

    async def found(self, vm_id: str) -> Vm:
        """The machine, or NotFound."""
        vm = await self.portal.database.run(vms.get, int(vm_id))
        if vm is None:
            raise NotFound(f"VM {vm_id}")
        return vm

    def show(self, form: Form, vm: Vm | None) -> None:
        """Show the form."""
        names = sorted({*self.portal.clusters, *([vm.cluster] if vm else [])})
        self.set_status(422 if form.errors else 200)
        self.render("admin/vm.html", form=form, machine=vm, clusters=[(name, name) for name in names], kinds=KINDS)


@requires(Action.ADMINISTER)
class VmsHandler(AdminHandler):
    """The list."""

    async def get(self) -> None:
        """Search by name, cluster, VMID or node."""
        page = await self.portal.database.run(vms.page, search=self.search, offset=self.offset, limit=ROWS)
        if self.beyond(page):
            return self.redirect(LIST)
        self.render("admin/vms.html", page=page, q=self.search)


@requires(Action.ADMINISTER)
class EditVmHandler(VmHandler):
    """Changing where a machine is found, and its name here."""

    async def get(self, vm_id: str) -> None:
        """Show the form."""
        vm = await self.found(vm_id)
        values = {
            "cluster": vm.cluster,
            "vmid": str(vm.vmid),
            "kind": vm.kind.value,
            "node": vm.node,
            "name": vm.name,
        }
        self.show(Form(values), vm)

    async def post(self, vm_id: str) -> None:
        """Change it, or show the form again with what is wrong."""
        form = Form.sent(self)
        given = vm_input(form)
        vm = await self.found(vm_id)
        if given.cluster not in {*self.portal.clusters, vm.cluster}:
            form.fail("cluster", "please choose one of these")
        if not form.errors:
            try:
                await self.portal.database.run(
                    vms.update,
                    self.actor,
                    vm.id,
                    cluster=given.cluster,
                    vmid=given.vmid,
                    kind=given.kind,
                    node=given.node,
                    name=given.name,
                )
                return self.done(LIST, Phrase("Machine %(machine)s was saved.", machine=given.name or given.vmid))
            except Conflict as conflict:
                form.conflict(conflict)
        self.show(form, vm)


@requires(Action.ADMINISTER)
class RemoveVmHandler(VmHandler):
    """Removing from the portal, after a question."""

    async def get(self, vm_id: str) -> None:
        """Ask."""
        vm = await self.found(vm_id)
        self.confirm(
            title=Phrase("Remove %(machine)s from the portal?", machine=vm.name or vm.vmid),
            text="Its assignments go with it, and open consoles end. On the cluster nothing changes.",
            button="Remove the machine",
            back=f"{LIST}/{vm.id}",
        )

    async def post(self, vm_id: str) -> None:
        """Remove."""
        vm = await self.found(vm_id)
        await self.portal.database.run(vms.delete, self.actor, vm.id)
        self.portal.registry.end(UNASSIGNED, lambda console: console.vm_id == vm.id)
        self.done(LIST, Phrase("Machine %(machine)s was removed from the portal.", machine=vm.name or vm.vmid))
