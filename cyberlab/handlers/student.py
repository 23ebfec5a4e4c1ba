"""A student's own machines."""

from __future__ import annotations

from cyberlab.db import holdings
from cyberlab.db.holdings import Holding
from cyberlab.db.models import utcnow
from cyberlab.handlers.base import BaseHandler, signed_in
from cyberlab.handlers.machines import report


class MyMachines(BaseHandler):
    """A page about the machines that are assigned to whoever asks; teachers and admins may have some of their own."""

    async def mine(self) -> list[Holding]:
        """What they hold, and what they will."""
        return await self.portal.database.run(holdings.of_user, self.user.user_id, utcnow())

    @staticmethod
    def version(rows: list[Holding]) -> str:
        """Changes when a page that shows these is no longer right."""
        return " ".join(
            f"{row.vm.id}:{row.starts_at is None:d}{row.can_power:d}{row.can_reset:d}{row.vm.reset_snapshot}"
            f"{row.ends_at.timestamp() if row.ends_at else ''}"
            for row in rows
        )


@signed_in
class StudentHandler(MyMachines):
    """The cards."""

    async def get(self) -> None:
        """Draw them at once; their states follow."""
        rows = await self.mine()
        self.render("student/machines.html", holdings=rows, version=self.version(rows), now=utcnow())


@signed_in
class StudentStatesHandler(MyMachines):
    """The states of the same machines."""

    answers_json = True

    async def get(self) -> None:
        """Answer what report() says; ``version`` tells the page whether it still shows the right machines."""
        rows = await self.mine()
        begun = [row.vm for row in rows if row.starts_at is None]
        answer = await report(self.portal, begun, self.translate, self.translate("Consoles may not open."))
        self.send_json(answer | {"version": self.version(rows)})
