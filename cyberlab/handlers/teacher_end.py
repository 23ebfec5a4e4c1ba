"""The end of a lesson, at once: nobody of the class holds its machines any more."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import holdings
from cyberlab.db.models import utcnow
from cyberlab.handlers.base import requires
from cyberlab.handlers.teacher_class import ClassHandler
from cyberlab.phrases import Phrase


@requires(Action.RUN_CLASS, on_class=True)
class EndHandler(ClassHandler):
    """Ending it, after a question."""

    async def get(self, group_id: str) -> None:
        """Ask; say what stays."""
        rows = await self.rows()
        ending = [row for row in rows if row.class_of is not None and row.class_of.id == self.group.id]
        self.render("teacher/end.html", group=self.group, ending=len(ending), staying=len(rows) - len(ending))

    async def post(self, group_id: str) -> None:
        """End it. Open consoles are closed by the access watch within a second."""
        ended = await self.portal.database.run(holdings.end_lesson, self.actor, self.group.id, utcnow())
        self.notify(
            Phrase(
                "The lesson is over: one assignment ended.",
                "The lesson is over: %(count)d assignments ended.",
                count=len(ended),
            )
        )
        self.redirect(self.home, status=303)
