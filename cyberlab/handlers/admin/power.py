"""Switching many machines at once, and how far that is."""

from __future__ import annotations

from typing import Any

from cyberlab.auth.access import Action
from cyberlab.db import vm_list
from cyberlab.db.models import Vm
from cyberlab.db.page import MAX_LIMIT
from cyberlab.handlers.admin.base import AdminHandler
from cyberlab.handlers.admin.vms import ACTS, LIST
from cyberlab.handlers.base import requires
from cyberlab.handlers.operations import Act, Batch, Operation, Phase
from cyberlab.phrases import Phrase

QUESTIONS = {
    Act.SHUTDOWN: (Phrase("Shut down one machine?", "Shut down %(count)d machines?", count=2), Phrase("Shut down")),
    Act.REBOOT: (Phrase("Restart one machine?", "Restart %(count)d machines?", count=2), Phrase("Restart")),
    Act.STOP: (Phrase("Switch one machine off?", "Switch %(count)d machines off?", count=2), Phrase("Switch off")),
}
PHASES = {
    Phase.WAITING: Phrase("waits for its turn"),
    Phase.RUNNING: Phrase("under way"),
    Phase.DONE: Phrase("done"),
    Phase.FAILED: Phrase("failed"),
}


@requires(Action.ADMINISTER)
class PowerVmsHandler(AdminHandler):
    """Switching those that were ticked."""

    async def post(self) -> None:
        """Do what the button says, after a question where work may be lost."""
        what = self.get_body_argument("do", "")
        chosen = await self.portal.database.run(vm_list.by_ids, list(self.ticked)[:MAX_LIMIT])
        if not chosen:
            return self.done(LIST, self.translate("Tick some machines first."))
        act = next((act for act in ACTS if act == what), None)
        if act is None:
            return self.done(LIST, self.translate("Choose what to do with them."))
        if act in QUESTIONS and self.get_body_argument("sure", "") != "1":
            return self._ask(act, chosen)
        batch = await self.portal.operations.begin_many(self.grant, act, [(vm, "") for vm in chosen])
        self.redirect(f"{LIST}/operations/{batch.id}", status=303)

    def _ask(self, act: Act, chosen: list[Vm]) -> None:
        (title, button), count = QUESTIONS[act], len(chosen)
        open_on = {console.request.vm_id for console in self.portal.registry}
        self.render(
            "admin/vms_sure.html",
            title=self.translate(title.key, title.plural, count=count),
            button=button,
            act=act,
            chosen=chosen,
            watched=[vm for vm in chosen if vm.id in open_on],
        )


@requires(Action.ADMINISTER)
class OperationsHandler(AdminHandler):
    """How far an operation on many machines is."""

    def get(self, batch_id: str) -> None:
        """Each machine with how it went; kept for an hour."""
        batch = self.portal.operations.batch(int(batch_id))
        if batch is None or batch.group_id:
            return self.done(LIST, self.translate("What was asked for has ended, and is no longer listed."))
        self.render("admin/operations.html", batch=batch, words=ACTS, phases=PHASES, **_progress(batch))


def _progress(batch: Batch) -> dict[str, Any]:
    order = {Phase.FAILED: 0, Phase.RUNNING: 1, Phase.WAITING: 2, Phase.DONE: 3}

    def key(operation: Operation) -> tuple[int, str]:
        return order[operation.phase], operation.vm.name

    return {
        "operations": sorted(batch.operations, key=key),
        "ended": batch.count(Phase.DONE, Phase.FAILED),
        "failed": batch.count(Phase.FAILED),
    }
