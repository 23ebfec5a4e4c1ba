"""Start, shut down, restart, pull the plug, reset: of one machine, by whom it is assigned to."""

from __future__ import annotations

from typing import ClassVar

from cyberlab.auth.access import Action
from cyberlab.handlers.base import BaseHandler, requires
from cyberlab.handlers.explanations import NO_CLUSTER, Explanation, Refusal
from cyberlab.handlers.operations import Act
from cyberlab.phrases import Phrase

NO_SNAPSHOT = Explanation(
    "There is nothing to reset this machine to",
    "Your teacher has not named a snapshot for it yet. Nothing was changed.",
    "Ask your teacher to name one.",
)
BEGUN = {
    Act.START: Phrase("%(machine)s is being started; that takes a moment."),
    Act.SHUTDOWN: Phrase("%(machine)s is being shut down; that takes up to a minute."),
    Act.REBOOT: Phrase("%(machine)s is being restarted; that takes a moment."),
    Act.STOP: Phrase("%(machine)s is being switched off."),
    Act.RESET: Phrase("%(machine)s is being reset; that takes a moment."),
}


class ActHandler(BaseHandler):
    """One act on the address's machine."""

    act: ClassVar[Act]

    @property
    def machine(self) -> str:
        """What people call it."""
        return self.vm.name or str(self.vm.vmid)

    def get(self, vm_id: str) -> None:
        """Ask before what cannot be taken back; the page's scripts are not needed."""
        self.ask()

    def ask(self) -> None:
        """Draw the question."""
        if self.act == Act.RESET and not self.vm.reset_snapshot:
            raise Refusal(409, NO_SNAPSHOT, f"{self.vm.label} has no snapshot named")
        self.render("student/confirm.html", vm=self.vm, machine=self.machine, act=self.act.value)

    async def post(self, vm_id: str) -> None:
        """Have it done and go back; the state on the page tells how it goes on."""
        if self.vm.cluster not in self.portal.clusters:
            raise Refusal(503, NO_CLUSTER, f"no cluster {self.vm.cluster}")
        snapshot = self.vm.reset_snapshot if self.act == Act.RESET else ""
        if self.act == Act.RESET:
            if not snapshot:
                raise Refusal(409, NO_SNAPSHOT, f"{self.vm.label} has no snapshot named")
            if self.get_body_argument("snapshot", "") != snapshot:
                return self.ask()  # the teacher has named another in the meantime
        busy = self.portal.operations.of(self.vm.id)
        if busy is not None and busy.busy:
            self.notify(Phrase("%(machine)s is busy already; that ends first.", machine=self.machine))
        else:
            await self.portal.operations.begin(self.grant, self.vm, self.act, snapshot)
            self.notify(Phrase(BEGUN[self.act].key, machine=self.machine))
        self.redirect("/student", status=303)


@requires(Action.POWER, on_vm=True)
class StartHandler(ActHandler):
    """Switching a machine on."""

    act = Act.START


@requires(Action.POWER, on_vm=True)
class ShutdownHandler(ActHandler):
    """Asking a machine to switch itself off."""

    act = Act.SHUTDOWN


@requires(Action.POWER, on_vm=True)
class RebootHandler(ActHandler):
    """Asking a machine to restart."""

    act = Act.REBOOT


@requires(Action.POWER, on_vm=True)
class StopHandler(ActHandler):
    """Pulling a machine's plug."""

    act = Act.STOP


@requires(Action.RESET, on_vm=True)
class ResetHandler(ActHandler):
    """Taking a machine back to the snapshot that its teacher has named."""

    act = Act.RESET
