"""Many users at once: chosen in the list, and disabled after a look."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import bulk_users
from cyberlab.db.bulk_users import Plan, Selection
from cyberlab.db.errors import Conflict, Stale
from cyberlab.handlers.admin.bulk import CHANGED, PREVIEWED
from cyberlab.handlers.admin.changes import CHANGES
from cyberlab.handlers.admin.users import LIST, FilteredUsersHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase
from cyberlab.problems import DEACTIVATED


@requires(Action.ADMINISTER)
class BulkUsersHandler(FilteredUsersHandler):
    """The steps after choosing; the address holds the list's filter."""

    def get(self) -> None:
        """Choosing is done in the list."""
        self.redirect(LIST)

    async def post(self) -> None:
        """Show who would be disabled, or disable who was shown."""
        form = Form.sent(self)
        everything = form.flag("all")
        selection: Selection = self.only if everything else self.ticked
        if not everything and not self.ticked:
            return self.done(self.filtered(LIST), self.translate(Phrase("Nobody was ticked, so nothing was changed.")))
        run, plan = self.portal.database.run, Plan([], 0, False)
        if form.values.get("count"):
            expected = form.number("count", 1, 1_000_000)
            try:
                plan = await run(bulk_users.plan, selection, self.user.user_id)
                done = await run(bulk_users.disable, self.actor, selection, expected)
                ids = {account.id for account in plan.accounts}
                self.portal.registry.end(DEACTIVATED, lambda console: console.user_id in ids)
                return self.redirect(f"{CHANGES}/{done}", status=303)
            except Stale:
                form.fail("selection", CHANGED)
            except Conflict as conflict:
                form.conflict(conflict)
        try:
            plan = await run(bulk_users.plan, selection, self.user.user_id)
        except Conflict as conflict:
            form.conflict(conflict)
        self.set_status(422 if form.errors else 200)
        self.render(
            "admin/users_bulk.html",
            form=form,
            plan=plan,
            ids=() if everything else sorted(self.ticked),
            everything=everything,
            shown=PREVIEWED,
            there=f"{LIST}/bulk?{self.request.query}",
            back=self.filtered(LIST),
        )
