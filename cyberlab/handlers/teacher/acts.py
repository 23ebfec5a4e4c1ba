"""What a teacher does with many machines of a class at once, and how it went."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import holdings
from cyberlab.db.models import Vm
from cyberlab.handlers.base import requires
from cyberlab.handlers.explanations import GONE, Explanation, Refusal
from cyberlab.handlers.machines import DOING, WAITING, explained, help_on
from cyberlab.handlers.operations import Act, Batch, Operation, Phase
from cyberlab.handlers.snapshots import is_name
from cyberlab.handlers.teacher.one_class import ClassHandler
from cyberlab.phrases import Phrase

UNKNOWN_ACT = Explanation(
    "The request could not be understood",
    "It names nothing that can be done with a machine. Nothing was done.",
    "Go back, reload the page and try again.",
)
EACH = "="  # the choice "each to the snapshot that is named for it"; no snapshot is called so
HARSH = (Act.STOP, Act.RESET)  # what is lost by them does not come back
LISTED = 200  # names in a question


def _act(value: str) -> Act:
    try:
        return Act(value)
    except ValueError:
        raise Refusal(400, UNKNOWN_ACT, f"act {value[:40]!r}") from None


@requires(Action.RUN_CLASS, on_class=True)
class ActHandler(ClassHandler):
    """Start, shut down, restart, pull the plug, reset: of one machine, or of all that are ticked."""

    async def post(self, group_id: str) -> None:
        """Ask first where something may be lost; then have it done behind the page, and go back to it."""
        one = self.get_body_argument("one", "")
        value, _, vm_id = one.partition(" ")
        act = _act(value if one else self.get_body_argument("act", ""))
        vms = await self.chosen([vm_id] if one else self.get_body_arguments("vm"))
        harmless = act == Act.START or (len(vms) == 1 and act not in HARSH)
        if act == Act.RESET:
            return await self._reset(vms)
        if not harmless and self.get_body_argument("confirmed", "") != "1":
            return self._ask(act, vms)
        await self._begin(act, [(vm, "") for vm in vms])

    async def _begin(self, act: Act, wanted: list[tuple[Vm, str]]) -> None:
        operations = self.portal.operations
        batch = await operations.begin_many(self.grant, act, wanted, f"class {self.group.name}")
        self.notify(Phrase("%(what)s: begun.", what=self.title_of(batch)))
        self.redirect(self.home, status=303)

    def _ask(self, act: Act, vms: list[Vm], problem: str = "", status: int = 200) -> None:
        self.set_status(status)
        named = sorted({vm.reset_snapshot for vm in vms if vm.reset_snapshot})
        self.render(
            "teacher/confirm.html",
            group=self.group,
            act=act.value,
            vms=vms,
            listed=", ".join(vm.name or str(vm.vmid) for vm in vms[:LISTED]),
            named=named,
            unnamed=sum(not vm.reset_snapshot for vm in vms),
            each=EACH,
            given=self.get_body_argument("snapshot", EACH if named else ""),
            other=self.get_body_argument("other", "")[:100],
            naming=self.get_body_argument("naming", "") == "1",
            problem=problem,
        )

    async def _reset(self, vms: list[Vm]) -> None:
        """To the snapshot that is named for each, or to one that is chosen now; ``only``: just name it."""
        only = self.get_body_argument("only", "") == "1"
        if self.get_body_argument("confirmed", "") != "1" and not only:
            return self._ask(Act.RESET, vms)
        choice = self.get_body_argument("snapshot", "") or self.get_body_argument("other", "").strip()
        if choice == EACH and not only:
            return await self._begin(Act.RESET, [(vm, vm.reset_snapshot) for vm in vms])
        if not is_name(choice):
            problem = self.translate("Please choose a snapshot, or give the name of one: letters, digits, “-” and “_”.")
            return self._ask(Act.RESET, vms, problem, 422)
        if only or self.get_body_argument("naming", "") == "1":
            await self.portal.database.run(holdings.name_snapshot, self.actor, [vm.id for vm in vms], choice)
        if only:
            self.notify(Phrase("“%(snapshot)s” is named for resets from now on.", snapshot=choice))
            return self.redirect(self.home, status=303)
        await self._begin(Act.RESET, [(vm, choice) for vm in vms])


@requires(Action.RUN_CLASS, on_class=True)
class SnapshotsHandler(ClassHandler):
    """The snapshots that chosen machines have in common; asked after the page is drawn, as it may take seconds."""

    answers_json = True

    async def get(self, group_id: str) -> None:
        """Answer ``{"names": [...], "message": text}``."""
        common = await self.portal.snapshots.common(await self.chosen(self.get_query_arguments("vm")))
        if not common.answered:
            message = self.translate("The machines' snapshots could not be listed; you may still give a name.")
        elif not common.names:
            message = self.translate("These machines have no snapshot in common.")
        elif common.silent:
            message = self.translate(
                "One machine did not answer.", "%(count)d machines did not answer.", count=common.silent
            )
        else:
            message = ""
        self.send_json({"names": common.names, "message": message})


class BatchHandler(ClassHandler):
    """A page about something that was asked for the class of the address."""

    def found(self, batch_id: str) -> Batch:
        """The batch; raise Refusal for one that is forgotten, or another class's."""
        batch = self.portal.operations.batch(int(batch_id))
        if batch is None or batch.group_id != self.group.id:
            raise Refusal(404, GONE, f"no batch {batch_id} of class {self.group.id}")
        return batch

    def result_of(self, operation: Operation) -> dict[str, object]:
        """How one machine's is, or ended; ``help``: where more is said about a failure."""
        match operation.phase:
            case Phase.WAITING:
                words = self.translate(WAITING)
            case Phase.RUNNING:
                words = self.translate(DOING[operation.act])
            case Phase.DONE:
                words = self.translate("done")
            case Phase.FAILED:
                words = explained(operation.problem, self.translate) if operation.problem else ""
        help_ = help_on(operation.problem) if operation.problem else None
        return {"phase": operation.phase.value, "words": words, "help": help_}


@requires(Action.RUN_CLASS, on_class=True)
class ResultsHandler(BatchHandler):
    """Machine by machine, how it went."""

    async def get(self, group_id: str, batch_id: str) -> None:
        """Draw what is known; the rest follows."""
        batch = self.found(batch_id)
        rows = await self.rows()
        holders = {row.vm_id: row.user.display_name or row.user.username for row in rows if row.user is not None}
        mine = {row.vm_id for row in rows}
        self.render(
            "teacher/results.html",
            group=self.group,
            batch=batch,
            progress=self.progress_of(batch),
            results=[(operation, self.result_of(operation)) for operation in batch.operations],
            holders=holders,
            failed=[row.vm.id for row in batch.operations if row.phase == Phase.FAILED and row.vm.id in mine],
        )


@requires(Action.RUN_CLASS, on_class=True)
class ResultStatesHandler(BatchHandler):
    """What changes on that page."""

    answers_json = True

    def get(self, group_id: str, batch_id: str) -> None:
        """Answer ``{"batch": progress, "results": {vm: {phase, words, help}}}``."""
        batch = self.found(batch_id)
        results = {operation.vm.id: self.result_of(operation) for operation in batch.operations}
        self.send_json({"machines": {}, "batch": self.progress_of(batch), "results": results, "soon": batch.busy})
