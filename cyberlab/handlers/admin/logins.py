"""Login sessions: who is signed in, where, and their end."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import logins
from cyberlab.db.models import utcnow
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.agents import browser_words
from cyberlab.handlers.base import requires
from cyberlab.problems import SIGNED_OUT

LIST = "/admin/logins"


@requires(Action.ADMINISTER)
class LoginsHandler(AdminHandler):
    """The list."""

    async def get(self) -> None:
        """Search by user or address; who was seen last comes first."""
        page = await self.portal.database.run(
            logins.page,
            utcnow(),
            self.portal.config.login_idle,
            search=self.search,
            offset=self.offset,
            limit=ROWS,
        )
        if self.beyond(page):
            return self.redirect(LIST)
        self.render("admin/logins.html", page=page, q=self.search, browser_words=browser_words)


@requires(Action.ADMINISTER)
class EndLoginHandler(AdminHandler):
    """Ending one."""

    async def post(self, session_id: str) -> None:
        """End it with the consoles that it opened; one that has ended is no error."""
        number = int(session_id)
        user_id = await self.portal.database.run(logins.end, self.actor, number)
        self.portal.registry.end(SIGNED_OUT, lambda console: console.login_session_id == number)
        if user_id is None:
            return self.done(LIST, self.translate("That sign-in had ended already."))
        self.done(LIST, self.translate("Signed out there."))
