"""Consoles: those that are open now, ended from here with a reason, and those of the past."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cyberlab.auth.access import Action
from cyberlab.console.registry import ConsoleRequest, LiveConsole
from cyberlab.db import audit, consoles, groups, vm_list
from cyberlab.db.models import Group, Vm
from cyberlab.db.page import Page
from cyberlab.db.text import fold, search_words
from cyberlab.handlers import moments
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.base import requires
from cyberlab.problems import DISCONNECTED

LIST = "/admin/consoles"


def number(value: str) -> int:
    """The id that the value is, 0 where it is none."""
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 19 else 0


@dataclass(frozen=True, slots=True)
class Target:
    """Which consoles are to be ended: the one, a user's, those on a class's machines."""

    which: Callable[[LiveConsole], bool]
    words: str  # for the audit


class ConsolesPage(AdminHandler):
    """A page about open consoles."""

    async def of_class(self, value: str) -> tuple[Group | None, set[int]]:
        """A class and its machines."""
        group = await self.portal.database.run(groups.get, number(value)) if number(value) else None
        if group is None:
            return None, set()
        return group, await self.portal.database.run(vm_list.of_group, group.id)


@requires(Action.ADMINISTER)
class ConsolesHandler(ConsolesPage):
    """Those that are open now, the newest first; the page asks again by itself."""

    async def get(self) -> None:
        """Search by user, machine or address, or show those of a class."""
        run = self.portal.database.run
        group, machines = await self.of_class(self.get_query_argument("class", ""))
        words = search_words(self.search)
        chosen = [live for live in self.portal.registry if _fits(live.request, words)]
        if group is not None:
            chosen = [live for live in chosen if live.request.vm_id in machines]
        chosen.reverse()
        chosen.sort(key=lambda live: live.request.wall)  # behind those that somebody has opened one by one
        page = Page(chosen[self.offset : self.offset + ROWS], len(chosen), self.offset, ROWS)
        vms = await run(vm_list.by_ids, {live.request.vm_id for live in page.rows})
        by_id: dict[int, Vm] = {vm.id: vm for vm in vms}
        self.render(
            "admin/consoles.html",
            page=page,
            vms=by_id,
            q=self.search,
            group=group,
            groups=(await run(vm_list.choices)).groups,
            everybody=len(self.portal.registry),
            together=Counter(live.request.user_id for live in self.portal.registry),
        )


def _fits(request: ConsoleRequest, words: list[str]) -> bool:
    text = fold(f"{request.username} {request.vm_label} {request.address}") if words else ""
    return all(word in text for word in words)


@requires(Action.ADMINISTER)
class EndConsolesHandler(ConsolesPage):
    """Ending: one, or all of a user at once, all of a class after a question."""

    async def get(self) -> None:
        """Ask about a class."""
        group, machines = await self.of_class(self.get_query_argument("class", ""))
        if group is None:
            return self.redirect(LIST)
        count = sum(live.request.vm_id in machines for live in self.portal.registry)
        self.render("admin/consoles_sure.html", group=group, count=count)

    async def post(self) -> None:
        """End them; their pages say that an admin did it."""
        target = await self._target()
        if target is None:
            return self.done(LIST, self.translate("That console has ended already."))
        chosen = [live for live in self.portal.registry if target.which(live)]
        if chosen:
            await self.portal.database.run(
                audit.record, self.actor, "console.disconnect", target.words, f"{len(chosen)} ended"
            )
        for live in chosen:
            live.close(DISCONNECTED)
        self.done(LIST, self.translate("One console was ended.", "%(count)d consoles were ended.", count=len(chosen)))

    async def _target(self) -> Target | None:
        console, user = (number(self.get_body_argument(name, "")) for name in ("console", "user"))
        if console:
            live = next((live for live in self.portal.registry if live.id == console), None)
            words = f"vm {live.request.vm_label} of {live.request.username}" if live else ""
            return Target(lambda other: other is live, words) if live else None
        if user:
            name = next((live.request.username for live in self.portal.registry if live.request.user_id == user), None)
            return Target(lambda live: live.request.user_id == user, f"user {name}") if name else None
        group, machines = await self.of_class(self.get_body_argument("class", ""))
        return Target(lambda live: live.request.vm_id in machines, f"class {group.name}") if group else None


@requires(Action.ADMINISTER)
class PastConsolesHandler(AdminHandler):
    """Who looked at what, and when."""

    async def get(self) -> None:
        """Search by user, machine or address, and by time; ``walls``: also the many tiles of teachers' walls."""
        run = self.portal.database.run
        walls = self.get_query_argument("walls", "") == "1"
        since, until = (moments.asked(self.get_query_argument(name, ""), self.zone) for name in ("since", "until"))
        page = await run(
            consoles.page,
            search=self.search,
            since=since,
            until=until,
            walls=walls,
            offset=self.offset,
            limit=ROWS,
        )
        if self.beyond(page):
            return self.redirect(f"{LIST}/past")
        left_out = 0
        if not page.rows and not walls:
            left_out = (await run(consoles.page, search=self.search, since=since, until=until, limit=1)).total
        self.render(
            "admin/consoles_past.html",
            page=page,
            q=self.search,
            since=moments.value(since, self.zone),
            until=moments.value(until, self.zone),
            walls=walls,
            left_out=left_out,
        )
