"""The machines of a teacher's classes."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import assignments
from cyberlab.db.models import utcnow
from cyberlab.handlers.base import BaseHandler, requires
from cyberlab.handlers.machines import report


@requires(Action.TEACH)
class TeacherHandler(BaseHandler):
    """What the classes and their students hold now."""

    async def get(self) -> None:
        """Draw the list at once; the states follow."""
        rows = await self.portal.database.run(assignments.taught, self.user.user_id, utcnow())
        self.render("teacher.html", rows=rows)


@requires(Action.TEACH)
class TeacherStatesHandler(BaseHandler):
    """The states of the same machines."""

    answers_json = True

    async def get(self) -> None:
        """Answer as for students."""
        rows = await self.portal.database.run(assignments.taught, self.user.user_id, utcnow())
        self.send_json(await report(self.portal, {row.vm_id: row.vm for row in rows}.values(), self.translate))
