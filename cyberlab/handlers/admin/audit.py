"""The audit: who did what to which object, narrowed down, and taken along as a file."""

from __future__ import annotations

import csv
import io

from tornado.iostream import StreamClosedError

from cyberlab.auth.access import Action
from cyberlab.db import audit
from cyberlab.db.audit import AuditFilter
from cyberlab.handlers import moments
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.base import requires

LIST = "/admin/audit"
EXPORTED = 100_000  # rows of one file; narrow it down by time for more
CHUNK = 1000
HEADER = ("time", "actor", "action", "object", "detail", "address")


def harmless(value: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, "CSV Injection"): with an apostrophe before it."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


class AuditPage(AdminHandler):
    """The log, as the address narrows it down."""

    def chosen(self) -> AuditFilter:
        """What is looked for; a time that is none does not narrow."""
        since, until = (moments.asked(self.get_query_argument(name, ""), self.zone) for name in ("since", "until"))
        texts = {name: self.get_query_argument(name, "")[:200] for name in ("actor", "action", "object")}
        return AuditFilter(search=self.search, since=since, until=until, **texts)


@requires(Action.ADMINISTER)
class AuditHandler(AuditPage):
    """The list."""

    async def get(self) -> None:
        """Newest first."""
        chosen, run = self.chosen(), self.portal.database.run
        page = await run(audit.page, chosen, offset=self.offset, limit=ROWS)
        if self.beyond(page):
            return self.redirect(LIST)
        actions = await run(audit.actions)
        self.render(
            "admin/audit.html",
            page=page,
            chosen=chosen,
            actions=actions,
            kinds=sorted({f"{action.split('.')[0]}." for action in actions if "." in action}),
            since=moments.value(chosen.since, self.zone),
            until=moments.value(chosen.until, self.zone),
            query=self.request.query,
            keep_days=self.portal.config.audit_keep_days,
        )


@requires(Action.ADMINISTER)
class AuditFileHandler(AuditPage):
    """The same as a file."""

    async def get(self) -> None:
        """Stream it, newest first, so that neither memory nor a transaction grows with it; times are in UTC."""
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", 'attachment; filename="audit.csv"')
        chosen, last, rows = self.chosen(), None, 0
        await self.portal.database.run(audit.record, self.actor, "audit.export", "", self.request.query[:200])
        self.write("\ufeff")  # spreadsheets take a file without it for Latin-1
        self._write([HEADER])
        while rows < EXPORTED:
            found = await self.portal.database.run(audit.before, chosen, last, min(CHUNK, EXPORTED - rows))
            self._write(
                [
                    (
                        row.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                        *map(harmless, (row.actor, row.action, row.object, row.detail, row.address)),
                    )
                    for row in found
                ]
            )
            try:
                await self.flush()
            except StreamClosedError:
                return
            if len(found) < CHUNK:
                return
            last, rows = found[-1].id, rows + len(found)

    def _write(self, rows: list[tuple[str, ...]]) -> None:
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        self.write(out.getvalue())
