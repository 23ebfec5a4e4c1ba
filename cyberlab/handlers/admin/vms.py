"""The list of machines: narrowed down, and many of them taken to be assigned."""

from __future__ import annotations

from urllib.parse import urlencode

from cyberlab.auth.access import Action
from cyberlab.db import vm_list
from cyberlab.db.models import utcnow
from cyberlab.db.page import MAX_LIMIT
from cyberlab.db.vm_list import STATES, Show, VmFilter
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.machines import report
from cyberlab.handlers.operations import Act
from cyberlab.phrases import Phrase

LIST = "/admin/vms"
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


class VmsPage(AdminHandler):
    """A page of the list."""

    def chosen(self) -> VmFilter:
        """What the address narrows the list to; what is none of the choices narrows nothing."""
        argument = {name: self.get_query_argument(name, "")[:255] for name in ("cluster", "node", "pool", "tag")}
        state = self.get_query_argument("state", "")
        group = self.get_query_argument("class", "")
        show = self.get_query_argument("show", "")
        return VmFilter(
            search=self.search,
            state=state if state in STATES else "",
            group_id=int(group) if group.isascii() and group.isdecimal() and len(group) < 10 else 0,
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

    def _kinds(self, chosen: VmFilter, counts: dict[str, int]) -> list[tuple[str, Phrase, int, bool]]:
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
class AssignVmsHandler(AdminHandler):
    """Assigning those that were ticked, which is a page of its own."""

    async def post(self) -> None:
        """Go there with those that there are."""
        chosen = await self.portal.database.run(vm_list.by_ids, list(self.ticked)[:MAX_LIMIT])
        if not chosen:
            return self.done(LIST, self.translate("Tick some machines first."))
        self.redirect(f"/admin/assignments/pair?{urlencode([('vm', vm.id) for vm in chosen])}", status=303)
