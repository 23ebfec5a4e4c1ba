"""Users, classes and assignments as CSV files that the import takes again; as the list's address narrows them down."""

from __future__ import annotations

from collections.abc import Sequence

from tornado.iostream import StreamClosedError

from cyberlab.auth.access import Action
from cyberlab.db import audit, exchange_assignments, exchange_classes, exchange_text, exchange_users
from cyberlab.db.models import utcnow
from cyberlab.handlers.admin.assignments import FilteredHandler
from cyberlab.handlers.admin.base import AdminHandler
from cyberlab.handlers.admin.users import FilteredUsersHandler
from cyberlab.handlers.base import requires

CHUNK = 1000  # rows of one transaction, and of one write to the browser


def separator(language: str) -> str:
    """What spreadsheets divide columns by where that language is spoken: not by the comma of its decimal numbers."""
    return ";" if language.startswith("de") else ","


class ExportHandler(AdminHandler):
    """Streams, so that neither memory nor a transaction grows with the list."""

    async def begin(self, name: str, columns: Sequence[str]) -> None:
        """Headers, and the line of headings."""
        self.set_header("Content-Type", "text/csv; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')
        await self.portal.database.run(audit.record, self.actor, "export", name, self.request.query[:200])
        # What separates columns is what the reader's spreadsheet expects; it takes a file without a mark for Latin-1.
        self._separator = separator(self.locale.code)
        self.write("\ufeff" + exchange_text.write([columns], self._separator))

    async def send(self, rows: Sequence[Sequence[str]]) -> bool:
        """Some rows more; False when nobody reads any more."""
        self.write(exchange_text.write(rows, self._separator))
        try:
            await self.flush()
        except StreamClosedError:
            return False
        return True


@requires(Action.ADMINISTER)
class ExportUsersHandler(ExportHandler, FilteredUsersHandler):
    """Users."""

    async def get(self) -> None:
        """All that the list shows, on whatever page."""
        await self.begin("users", exchange_users.EXPORTED)
        last = -1
        while last:
            rows, last = await self.portal.database.run(exchange_users.export, self.only, last, CHUNK, self.zone)
            if not await self.send(rows):
                return


@requires(Action.ADMINISTER)
class ExportClassesHandler(ExportHandler):
    """Classes and who is in them."""

    async def get(self) -> None:
        """All that the list shows, on whatever page."""
        await self.begin("classes", exchange_classes.EXPORTED)
        archived = self.get_query_argument("archived", "") == "1"
        last: tuple[int, int] | None = (0, 0)
        while last:
            rows, last = await self.portal.database.run(exchange_classes.export, self.search, archived, last, CHUNK)
            if not await self.send(rows):
                return


@requires(Action.ADMINISTER)
class ExportAssignmentsHandler(ExportHandler, FilteredHandler):
    """Assignments; times are those of the reader's zone, as in the import."""

    async def get(self) -> None:
        """All that the list shows, on whatever page."""
        await self.begin("assignments", exchange_assignments.EXPORTED)
        last, now = -1, utcnow()
        while last:
            rows, last = await self.portal.database.run(
                exchange_assignments.export, self.only, now, last, CHUNK, self.zone
            )
            if not await self.send(rows):
                return
