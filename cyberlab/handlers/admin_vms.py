"""The list of machines: narrowed down, and something done to many at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from cyberlab.auth.access import Action
from cyberlab.db import vm_list
from cyberlab.db.models import Vm, utcnow
from cyberlab.db.page import MAX_LIMIT
from cyberlab.db.rows import MAX_ID
from cyberlab.db.vm_list import STATES, Show, VmFilter
from cyberlab.handlers.admin import ROWS, AdminHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.machines import report
from cyberlab.handlers.operations import Act, Batch, Operation, Phase
from cyberlab.phrases import Phrase

LIST = "/admin/vms"
ASSIGN = "assign"
# The kinds of the list, with its name in the URL: (argument, value, words).
KINDS = (
    ("show", Show.ALL, Phrase("All")),
    ("state", "running", Phrase("Running")),
    ("state", "stopped", Phrase("Stopped")),
    ("state", "unknown", Phrase("Unknown")),
    ("show", Show.ASSIGNED, Phrase("Assigned")),
    ("show", Show.UNASSIGNED, Phrase("Unassigned")),
    ("show", Show.VANISHED, Phrase("Vanished")),
    ("show", Show.TEMPLATES, Phrase("Templates")),
)
ACTS = {
    Act.START: Phrase("Start"),
    Act.SHUTDOWN: Phrase("Shut down"),
    Act.REBOOT: Phrase("Restart"),
    Act.STOP: Phrase("Switch off"),
}
QUESTIONS = {
    Act.SHUTDOWN: (Phrase("Shut down one machine?", "Shut down %(count)d machines?", count=2), Phrase("Shut down")),
    Act.REBOOT: (Phrase("Restart one machine?", "Restart %(count)d machines?", count=2), Phrase("Restart")),
    Act.STOP: (Phrase("Switch one machine off?", "Switch %(count)d machines off?", count=2), Phrase("Switch off")),
}
PHASES = {
    Phase.WAITING: Phrase("waits for its turn"),
    Phase.RUNNING: Phrase("under way"),
    Phase.DONE: Phrase("done"),
    Phase.FAILED: Phrase("failed"),
}


def numbers(values: list[str]) -> list[int]:
    """Those of the values that may be ids, each once; as many as a page of a list may hold."""
    found = [int(value) for value in values if value.isascii() and value.isdecimal() and len(value) < 11]
    return list(dict.fromkeys(number for number in found if 0 < number <= MAX_ID))[:MAX_LIMIT]


class VmsPage(AdminHandler):
    """A page of the list."""

    def chosen(self) -> VmFilter:
        """What the address narrows the list to; what is none of the choices narrows nothing."""
        argument = {name: self.get_query_argument(name, "")[:255] for name in ("cluster", "node", "pool", "tag")}
        state = self.get_query_argument("state", "")
        group = numbers([self.get_query_argument("class", "")])
        show = self.get_query_argument("show", "")
        return VmFilter(
            search=self.search,
            state=state if state in STATES else "",
            group_id=group[0] if group else 0,
            show=Show(show) if show in set(Show) else Show.ALL,
            **argument,
        )


@requires(Action.ADMINISTER)
class VmsHandler(VmsPage):
    """The list."""

    async def get(self) -> None:
        """Draw it at once; the states follow."""
        chosen, now, run = self.chosen(), utcnow(), self.portal.database.run
        page = await run(vm_list.page, chosen, now, offset=self.offset, limit=ROWS)
        if self.beyond(page):
            return self.redirect(LIST)
        self.render(
            "admin/vms.html",
            page=page,
            chosen=chosen,
            choices=await run(vm_list.choices),
            kinds=self._kinds(chosen, await run(vm_list.counts, now)),
            whose=await run(vm_list.whose, [vm.id for vm in page.rows], now),
            acts=ACTS,
        )

    def _kinds(self, chosen: VmFilter, counts: dict[str, int]) -> list[tuple[str, str, int, bool]]:
        """Links to the parts of the list: address, words, how many, whether it is the one shown."""
        found = []
        for name, value, words in KINDS:
            current = value == (chosen.show if name == "show" else chosen.state)
            if not value:
                current = not chosen.narrows
            elif not counts[value] and not current:
                continue
            found.append((f"{LIST}?{urlencode({name: value})}" if value else LIST, words, counts[value], current))
        return found


@requires(Action.ADMINISTER)
class VmStatesHandler(VmsPage):
    """The states of the machines on one page of the list."""

    answers_json = True

    async def get(self) -> None:
        """Answer as for students."""
        run = self.portal.database.run
        page = await run(vm_list.page, self.chosen(), utcnow(), offset=self.offset, limit=ROWS)
        self.send_json(await report(self.portal, page.rows, self.translate))


@requires(Action.ADMINISTER)
class SelectedVmsHandler(AdminHandler):
    """Something for many machines: they are assigned on a page of its own, switched from here."""

    async def post(self) -> None:
        """Do what the button says, after a question where work may be lost."""
        ids = numbers(self.get_body_arguments("vm"))
        what = self.get_body_argument("do", "")
        chosen = await self.portal.database.run(vm_list.by_ids, ids)
        if not chosen:
            return self.done(LIST, self.translate("Tick some machines first."))
        if what == ASSIGN:
            query = urlencode([("vm", vm.id) for vm in chosen])
            return self.redirect(f"/admin/assignments/pair?{query}", status=303)
        act = next((act for act in ACTS if act == what), None)
        if act is None:
            return self.done(LIST, self.translate("Choose what to do with them."))
        if act in QUESTIONS and self.get_body_argument("sure", "") != "1":
            return self._ask(act, chosen)
        batch = await self.portal.operations.begin_many(self.actor, 0, act, [(vm, "") for vm in chosen])
        self.redirect(f"{LIST}/operations/{batch.id}", status=303)

    def _ask(self, act: Act, chosen: list[Vm]) -> None:
        (title, button), count = QUESTIONS[act], len(chosen)
        open_on = {console.request.vm_id for console in self.portal.registry}
        self.render(
            "admin/vms_sure.html",
            title=self.translate(title.key, title.plural, count=count),
            button=button,
            act=act,
            chosen=chosen,
            watched=[vm for vm in chosen if vm.id in open_on],
        )


@requires(Action.ADMINISTER)
class OperationsHandler(AdminHandler):
    """How far an operation on many machines is."""

    def get(self, batch_id: str) -> None:
        """Each machine with how it went; kept for an hour."""
        batch = self.portal.operations.batch(int(batch_id))
        if batch is None or batch.group_id:
            return self.done(LIST, self.translate("What was asked for has ended, and is no longer listed."))
        self.render("admin/operations.html", batch=batch, words=ACTS, phases=PHASES, **_progress(batch))


def _progress(batch: Batch) -> dict[str, Any]:
    order = {Phase.FAILED: 0, Phase.RUNNING: 1, Phase.WAITING: 2, Phase.DONE: 3}

    def key(operation: Operation) -> tuple[int, str]:
        return order[operation.phase], operation.vm.name

    return {
        "operations": sorted(batch.operations, key=key),
        "ended": batch.count(Phase.DONE, Phase.FAILED),
        "failed": batch.count(Phase.FAILED),
    }
