"""Machines, as the inventory said last, and the consoles that are open."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import vms
from cyberlab.db.errors import NotFound
from cyberlab.db.tokens import Scope
from cyberlab.handlers.api.base import ApiHandler, operation
from cyberlab.handlers.api.schemas import ConsoleOut, ConsolesOut, MachineListing, MachineOut, Paged
from cyberlab.handlers.base import requires
from cyberlab.problems import DISCONNECTED


@requires(Action.ADMINISTER)
class MachinesHandler(ApiHandler):
    """All of them."""

    @operation("List machines", query=MachineListing, answer=Paged[MachineOut])
    async def get(self, query: MachineListing) -> Paged[MachineOut]:
        """By name."""
        page = await self.portal.database.run(
            vms.page, search=query.q, cluster=query.cluster, offset=query.offset, limit=query.limit
        )
        return Paged.of(page, [MachineOut.of(row) for row in page.rows])


@requires(Action.OPEN_CONSOLE, on_vm=True)
class MachineHandler(ApiHandler):
    """One of them; also for those who hold or teach it."""

    @operation("Read a machine", answer=MachineOut)
    async def get(self, machine_id: int) -> MachineOut:
        """As the inventory said last."""
        return MachineOut.of(self.vm)


@requires(Action.ADMINISTER)
class ConsolesHandler(ApiHandler):
    """Those that are open."""

    @operation("List open consoles", answer=ConsolesOut)
    async def get(self) -> ConsolesOut:
        """The oldest first."""
        return ConsolesOut(items=[ConsoleOut.of(live) for live in self.portal.registry])


@requires(Action.ADMINISTER)
class ConsoleHandler(ApiHandler):
    """One that is open."""

    @operation("Disconnect a console", scope=Scope.WRITE, status=204)
    async def delete(self, console_id: int) -> None:
        """Its page says that an admin has done so."""
        found = [live for live in self.portal.registry if live.id == console_id]
        if not found:
            raise NotFound(f"console {console_id}")
        for live in found:
            live.close(DISCONNECTED)
