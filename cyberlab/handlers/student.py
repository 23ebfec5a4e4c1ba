"""A student's own machines."""

from __future__ import annotations

from datetime import datetime, timedelta

from cyberlab.db import holdings
from cyberlab.db.holdings import Holding
from cyberlab.db.models import utcnow
from cyberlab.handlers import moments
from cyberlab.handlers.base import BaseHandler, signed_in
from cyberlab.handlers.machines import report, version


class MyMachines(BaseHandler):
    """A page about the machines that are assigned to whoever asks; teachers and admins may have some of their own."""

    async def mine(self) -> list[Holding]:
        """What they hold, and what they will."""
        return await self.portal.database.run(holdings.of_user, self.user.user_id, utcnow())

    @staticmethod
    def version_of(rows: list[Holding]) -> str:
        """What they are, in short."""
        return version(
            (row.vm.id, row.vm.reset_snapshot, row.starts_at, row.ends_at, row.can_power, row.can_reset) for row in rows
        )


@signed_in
class StudentHandler(MyMachines):
    """The cards."""

    def until(self, ends_at: datetime) -> tuple[bool, str]:
        """Whether a time that ends does so today, on the reader's clock, and the words around it."""
        at = moments.local(ends_at, self.zone)
        if (at - timedelta(minutes=1)).date() != moments.local(utcnow(), self.zone).date():
            return False, self.translate("until %(moment)s")
        if (at.hour, at.minute) == (0, 0):
            return True, self.translate("Ends today at midnight")
        return True, self.translate("Ends today: %(moment)s")

    async def get(self) -> None:
        """Draw them at once; their states follow."""
        rows = await self.mine()
        self.render("student/machines.html", holdings=rows, version=self.version_of(rows))


@signed_in
class StudentStatesHandler(MyMachines):
    """The states of the same machines."""

    answers_json = True

    async def get(self) -> None:
        """Answer what report() says; ``version`` tells the page whether it still shows the right machines."""
        rows = await self.mine()
        begun = [row.vm for row in rows if row.starts_at is None]
        answer = await report(self.portal, begun, self.translate, "Consoles may not open.")
        self.send_json(answer | {"version": self.version_of(rows)})
