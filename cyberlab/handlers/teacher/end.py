"""The end of a lesson, at once: nobody of the class holds its machines any more."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import lessons
from cyberlab.db.errors import Conflict
from cyberlab.db.models import utcnow
from cyberlab.handlers.base import requires
from cyberlab.handlers.teacher.one_class import ClassHandler
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
        ended = await self.portal.database.run(lessons.end, self.actor, self.group, utcnow())
        if ended is None:
            self.notify("There is nothing to end: the class holds no machine now.")
        else:
            self.notify(
                Phrase(
                    "The lesson is over: one assignment ended.",
                    "The lesson is over: %(count)d assignments ended.",
                    count=ended.count,
                )
            )
        self.redirect(self.home, status=303)


@requires(Action.RUN_CLASS, on_class=True)
class TakeBackHandler(ClassHandler):
    """Letting an ended lesson go on."""

    async def post(self, group_id: str, change_id: str) -> None:
        """Restore the assignments that nobody has changed since."""
        try:
            done = await self.portal.database.run(lessons.take_back, self.actor, self.group, int(change_id), utcnow())
        except Conflict as conflict:
            self.notify(conflict.message)
        else:
            if done.left_count:
                self.notify(
                    Phrase(
                        "The lesson goes on, but for an assignment that somebody has changed since.",
                        "The lesson goes on, but for %(count)d assignments that somebody has changed since.",
                        count=done.left_count,
                    )
                )
            else:
                self.notify("The lesson goes on.")
        self.redirect(self.home, status=303)
