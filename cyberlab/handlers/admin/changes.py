"""What was done with many rows in one go, and its undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cyberlab.auth.access import Action
from cyberlab.db import bulk, users
from cyberlab.db.bulk import Done
from cyberlab.db.bulk_undo import UNDO
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.base import requires
from cyberlab.phrases import Phrase

CHANGES = "/admin/changes"
TITLES: Mapping[str, Callable[[Done], Phrase]] = {
    "assignments-ended": lambda done: Phrase(
        "One assignment was ended", "%(count)d assignments were ended", count=done.count
    ),
    "assignments-changed": lambda done: Phrase(
        "One assignment was changed", "%(count)d assignments were changed", count=done.count
    ),
    "assignments-removed": lambda done: Phrase(
        "One assignment was removed", "%(count)d assignments were removed", count=done.count
    ),
    "assignments-made": lambda done: Phrase(
        "%(about)s: one assignment was made",
        "%(about)s: %(count)d assignments were made",
        count=done.count,
        about=done.about,
    ),
    "users-disabled": lambda done: Phrase("One user was disabled", "%(count)d users were disabled", count=done.count),
}


class ChangeHandler(AdminHandler):
    """A page about such changes."""

    def title(self, done: Done) -> str:
        """What it was, in the reader's words."""
        return self.translate(TITLES[done.kind](done)) if done.kind in TITLES else done.kind

    def _noun(self) -> str:
        return "/admin/assignments"


@requires(Action.ADMINISTER)
class ChangesHandler(ChangeHandler):
    """The list."""

    async def get(self) -> None:
        """Newest first."""
        page = await self.portal.database.run(bulk.page, offset=self.offset, limit=ROWS)
        if self.beyond(page):
            return self.redirect(CHANGES)
        who = await self.portal.database.run(users.by_ids, {done.actor_id for done in page.rows if done.actor_id})
        titles = {done.id: self.title(done) for done in page.rows}
        self.render("admin/changes.html", page=page, titles=titles, who=who)


@requires(Action.ADMINISTER)
class UndoHandler(ChangeHandler):
    """One change."""

    async def get(self, change_id: str) -> None:
        """Say what was done, and offer to take it back; or what was taken back, and what not."""
        await self._show(change_id)

    async def post(self, change_id: str) -> None:
        """Take it back."""
        try:
            await self.portal.database.run(bulk.undo, self.actor, int(change_id), UNDO)
        except Conflict as conflict:
            return await self._show(change_id, self.translate(conflict.message))
        self.redirect(f"{CHANGES}/{int(change_id)}", status=303)

    async def _show(self, change_id: str, problem: str = "") -> None:
        done = await self.portal.database.run(bulk.get, int(change_id))
        if done is None:
            raise NotFound(f"change {change_id}")
        who = await self.portal.database.run(users.by_ids, {done.actor_id} if done.actor_id else set())
        self.set_status(422 if problem else 200)
        back = "/admin/users" if done.kind.startswith("users") else "/admin/assignments"
        self.render("admin/change.html", done=done, title=self.title(done), who=who, problem=problem, back=back)
