"""What the admin's pages have in common, and the overview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyberlab.auth.access import Action
from cyberlab.db import groups, users, vms
from cyberlab.db.attention import attention, totals
from cyberlab.db.models import utcnow
from cyberlab.db.page import Page
from cyberlab.handlers.base import BaseHandler, Question, requires
from cyberlab.phrases import Phrase

ROWS = 50
SUGGESTIONS = 20
LAST_PAGE = 1_000_000
NOUNS = (
    ("/admin", Phrase("Overview")),
    ("/admin/users", Phrase("Users")),
    ("/admin/classes", Phrase("Classes")),
    ("/admin/vms", Phrase("Machines")),
    ("/admin/assignments", Phrase("Assignments")),
    ("/admin/consoles", Phrase("Live consoles")),
    ("/admin/logins", Phrase("Sign-ins")),
    ("/admin/audit", Phrase("Audit")),
    ("/admin/health", Phrase("Health")),
)


class AdminHandler(BaseHandler):
    """A page with a search, or a form."""

    @property
    def search(self) -> str:
        """What the list is searched for."""
        return self.get_query_argument("q", "")[:200]

    @property
    def offset(self) -> int:
        """Where the asked page of the list begins."""
        number = self.get_query_argument("page", "1")
        if not (number.isascii() and number.isdecimal() and len(number) < 8):
            return 0
        return (min(max(int(number), 1), LAST_PAGE) - 1) * ROWS

    @property
    def ticked(self) -> set[int]:
        """The ids of the rows that were ticked in a list."""
        ids = self.get_body_arguments("id")
        return {int(value) for value in ids if value.isascii() and value.isdecimal() and len(value) < 11}

    def filtered(self, where: str) -> str:
        """The list at that address, narrowed as this page's own address says."""
        return f"{where}?{self.request.query}" if self.request.query else where

    async def class_options(self, chosen: int | None) -> list[tuple[str, str]]:
        """The classes for a choice in a form, and the ``chosen`` one even if it is archived."""
        found = await self.portal.database.run(groups.names)
        if chosen is not None and chosen not in {group_id for group_id, _ in found}:
            group = await self.portal.database.run(groups.get, chosen)
            found += [(group.id, group.name)] if group is not None else []
        return [(str(group_id), name) for group_id, name in found]

    def beyond(self, page: Page[Any]) -> bool:
        """Whether the list has become shorter than the page that was asked for."""
        return not page.rows and page.offset > 0

    def get_template_namespace(self) -> dict[str, Any]:
        """The nouns at the side."""
        return super().get_template_namespace() | {"nouns": NOUNS, "noun": self._noun()}

    def _noun(self) -> str:
        return "/".join(self.request.path.split("/")[:3])

    def done(self, where: str, notice: str) -> None:
        """A change was made: go to a list and say so there."""
        self.notify(notice)
        self.redirect(where, status=303)

    def confirm(
        self,
        *,
        title: str,
        text: str,
        button: str,
        back: str,
        status: int = 200,
        problem: str = "",
        danger: bool = True,
        hidden: Mapping[str, str] | None = None,
    ) -> None:
        """Ask first; see Question."""
        question = Question(title, text, button, back, danger, hidden or {})
        self.ask_first("admin/confirm.html", question, status=status, problem=problem)


@requires(Action.ADMINISTER)
class OverviewHandler(AdminHandler):
    """How much there is of everything, and what needs somebody."""

    async def get(self) -> None:
        """Count; no cluster is asked for it."""
        run, now = self.portal.database.run, utcnow()
        total = await run(totals)
        self.render(
            "admin/overview.html",
            counts=(
                ("/admin/users", Phrase("users"), total.users),
                ("/admin/classes", Phrase("classes"), total.groups),
                ("/admin/vms", Phrase("machines"), total.vms),
                ("/admin/assignments", Phrase("assignments"), total.assignments),
                ("/admin/consoles", Phrase("open consoles"), len(self.portal.registry)),
            ),
            seen=await run(attention, now),
            down=[(name, each.problem) for name, each in sorted(self.portal.clusters.items()) if each.problem],
        )


@requires(Action.ADMINISTER)
class UserSuggestionsHandler(AdminHandler):
    """User names for a field that wants one."""

    answers_json = True

    async def get(self) -> None:
        """Answer ``{"suggestions": [{value, text}]}``."""
        page = await self.portal.database.run(users.page, search=self.search, limit=SUGGESTIONS)
        rows = [{"value": user.username, "text": user.display_name} for user in page.rows]
        self.send_json({"suggestions": rows})


@requires(Action.ADMINISTER)
class VmSuggestionsHandler(AdminHandler):
    """Machines for a field that wants one."""

    answers_json = True

    async def get(self) -> None:
        """Answer ``{"suggestions": [{value, text}]}``."""
        page = await self.portal.database.run(vms.page, search=self.search, limit=SUGGESTIONS)
        self.send_json({"suggestions": [{"value": f"{vm.cluster}/{vm.vmid}", "text": vm.name} for vm in page.rows]})
