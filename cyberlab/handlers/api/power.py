"""Power and resets: begun here, watched here."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db.errors import NotFound
from cyberlab.db.tokens import Scope
from cyberlab.handlers.api.base import ApiHandler, ApiProblem, operation
from cyberlab.handlers.api.schemas import OperationOut, Power
from cyberlab.handlers.base import requires
from cyberlab.handlers.operations import Act
from cyberlab.problems import Problem


class ActHandler(ApiHandler):
    """Begins an operation on the address's machine."""

    async def begin(self, act: Act, snapshot: str = "") -> OperationOut:
        """The operation; its end is asked for later. Raises ApiProblem."""
        if self.vm.cluster not in self.portal.clusters:
            raise ApiProblem(409, "This machine's cluster is not set up", self.vm.cluster)
        try:
            return OperationOut.of(await self.portal.operations.begin(self.grant, self.vm, act, snapshot))
        except Problem as problem:
            raise ApiProblem(409, problem.advice.title, problem.advice.user) from None


@requires(Action.POWER, on_vm=True)
class PowerHandler(ActHandler):
    """The power button."""

    @operation("Start, stop or restart a machine", scope=Scope.POWER, body=Power, answer=OperationOut, status=202)
    async def post(self, machine_id: int, body: Power) -> OperationOut:
        """Begun, not done."""
        return await self.begin(Act(body.act.value))


@requires(Action.RESET, on_vm=True)
class ResetHandler(ActHandler):
    """Back to the snapshot that the teacher has named."""

    @operation("Reset a machine to its named snapshot", scope=Scope.POWER, answer=OperationOut, status=202)
    async def post(self, machine_id: int) -> OperationOut:
        """Begun, not done."""
        if not self.vm.reset_snapshot:
            raise ApiProblem(409, "There is no snapshot to go back to", "None has been named for this machine.")
        return await self.begin(Act.RESET, self.vm.reset_snapshot)


@requires(Action.OPEN_CONSOLE, on_vm=True)
class OperationHandler(ApiHandler):
    """What is being done to a machine."""

    @operation("Read a machine's operation", answer=OperationOut)
    async def get(self, machine_id: int) -> OperationOut:
        """The one under way, or the one that has just ended; 404 where there is none."""
        found = self.portal.operations.of(self.vm.id)
        if found is None:
            raise NotFound(f"operation on machine {machine_id}")
        return OperationOut.of(found)
