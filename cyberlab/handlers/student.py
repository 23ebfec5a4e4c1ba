"""A student's own machines."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import assignments
from cyberlab.db.models import utcnow
from cyberlab.handlers.base import BaseHandler, requires, signed_in
from cyberlab.handlers.explanations import NO_CLUSTER, Refusal
from cyberlab.handlers.machines import report
from cyberlab.phrases import Phrase


@signed_in
class StudentHandler(BaseHandler):
    """The machines that are assigned to whoever asks; teachers and admins may have some of their own."""

    async def get(self) -> None:
        """Draw the cards at once; their states follow."""
        mine = await self.portal.database.run(assignments.for_user, self.user.user_id, utcnow())
        self.render("student.html", assignments=mine)


@signed_in
class StudentStatesHandler(BaseHandler):
    """The states of the same machines."""

    answers_json = True

    async def get(self) -> None:
        """Answer ``{"machines": {id: {state, word, stale}}, "message": text or null}``."""
        mine = await self.portal.database.run(assignments.for_user, self.user.user_id, utcnow())
        self.send_json(await report(self.portal, [row.vm for row in mine], self.translate, "Consoles may not open."))


@requires(Action.POWER, on_vm=True)
class StartHandler(BaseHandler):
    """Switching a machine on."""

    async def post(self, vm_id: str) -> None:
        """Have it done and go back; the state on the page tells how it went."""
        cluster = self.portal.clusters.get(self.vm.cluster)
        if cluster is None:
            raise Refusal(503, NO_CLUSTER, f"no cluster {self.vm.cluster}")
        call = cluster.start(self.vm.node, self.vm.kind.value, self.vm.vmid)
        self.portal.errands.begin(self.vm.id, call, f"start of {self.vm.label} for {self.user.username}")
        self.notify(Phrase("%(machine)s is being started; that takes a moment.", machine=self.vm.name or self.vm.vmid))
        self.redirect("/student", status=303)
