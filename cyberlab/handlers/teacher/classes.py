"""A teacher's classes."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import holdings
from cyberlab.db.holdings import TaughtClass
from cyberlab.db.models import utcnow
from cyberlab.handlers.base import BaseHandler, requires
from cyberlab.handlers.machines import shown, states


class MyClasses(BaseHandler):
    """A page about the classes that whoever asks teaches."""

    async def mine(self) -> list[TaughtClass]:
        """The classes with their machines."""
        return await self.portal.database.run(holdings.taught_by, self.user.user_id, utcnow())


@requires(Action.TEACH)
class TeacherHandler(MyClasses):
    """The list."""

    async def get(self) -> None:
        """Draw it at once; the counts follow."""
        self.render("teacher/classes.html", classes=await self.mine())


@requires(Action.TEACH)
class TeacherStatesHandler(MyClasses):
    """How many machines of each class run, and how many are being looked at."""

    answers_json = True

    async def get(self) -> None:
        """Answer ``{"classes": {id: {running, connected, machines}}, "machines": {}, "message": text or null}``."""
        classes = await self.mine()
        found, messages = await states(self.portal, {vm.id: vm for row in classes for vm in row.vms.values()}.values())
        watched = {live.request.vm_id for live in self.portal.registry if not live.request.wall}
        counts = {
            row.group.id: {
                "running": sum(found[vm_id].state == "running" for vm_id in row.vms),
                "connected": len(watched & row.vms.keys()),
                "machines": len(row.vms),
            }
            for row in classes
        }
        self.send_json({"classes": counts} | shown({}, messages, self.translate))
