"""One class on one screen: its machines, who is at them, and what is being done with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from cyberlab.auth.access import Action
from cyberlab.db import holdings, lessons
from cyberlab.db.models import Assignment, MembershipRole, User, Vm, utcnow
from cyberlab.handlers.base import BaseHandler, requires
from cyberlab.handlers.explanations import Explanation, Refusal
from cyberlab.handlers.machines import shown, states, version
from cyberlab.handlers.operations import Act, Batch, Phase

NOT_OF_CLASS = Explanation(
    "Not all of these machines belong to this class",
    "Some were taken away in the meantime, or were never this class's. Nothing was done with any of them.",
    "Go back, reload the page and choose again.",
)
NOTHING_CHOSEN = Explanation(
    "No machine was chosen",
    "Nothing was done.",
    "Go back and tick the machines that you mean.",
)
MOST = 1000  # machines that one form may name


class ClassHandler(BaseHandler):
    """A page about the class of the address, for who may run it."""

    async def rows(self) -> list[Assignment]:
        """What the class and its students hold now."""
        return await self.portal.database.run(holdings.of_class, self.group.id, utcnow())

    async def people(self) -> list[tuple[User, MembershipRole]]:
        """Who is in the class."""
        return await self.portal.database.run(holdings.people_of, self.group.id)

    @property
    def home(self) -> str:
        """The class's page."""
        return f"/teacher/classes/{self.group.id}"

    async def chosen(self, given: Iterable[str]) -> list[Vm]:
        """The machines with these ids; raise Refusal unless there is one and all are the class's now."""
        ids = list(dict.fromkeys(given))
        if not ids:
            raise Refusal(400, NOTHING_CHOSEN)
        vms = {str(row.vm_id): row.vm for row in await self.rows()}
        foreign = [vm_id for vm_id in ids if vm_id not in vms]
        if foreign or len(ids) > MOST:
            raise Refusal(403, NOT_OF_CLASS, f"{len(foreign)} of {len(ids)} machines are not of class {self.group.id}")
        return [vms[vm_id] for vm_id in ids]

    def title_of(self, batch: Batch) -> str:
        """What was asked for, in words."""
        count = len(batch.operations)
        match batch.act:
            case Act.START:
                return self.translate("Start one machine", "Start %(count)d machines", count=count)
            case Act.SHUTDOWN:
                return self.translate("Shut down one machine", "Shut down %(count)d machines", count=count)
            case Act.REBOOT:
                return self.translate("Restart one machine", "Restart %(count)d machines", count=count)
            case Act.STOP:
                return self.translate(
                    "Pull the plug of one machine", "Pull the plug of %(count)d machines", count=count
                )
            case Act.RESET:
                return self.translate("Reset one machine", "Reset %(count)d machines", count=count)

    def progress_of(self, batch: Batch) -> dict[str, object]:
        """How far it is, as class.js reads it."""
        done, failed = batch.count(Phase.DONE), batch.count(Phase.FAILED)
        total = len(batch.operations)
        if batch.busy:
            words = self.translate("%(done)d of %(total)d done", done=done + failed, total=total)
        elif not failed:
            words = self.translate("all done")
        else:
            words = self.translate("%(done)d done, %(failed)d failed", done=done, failed=failed)
        return {
            "id": batch.id,
            "title": self.title_of(batch),
            "words": words,
            "ended": done + failed,
            "failed": failed,
            "total": total,
            "busy": batch.busy,
        }


@requires(Action.RUN_CLASS, on_class=True)
class ClassPageHandler(ClassHandler):
    """The page."""

    async def get(self, group_id: str) -> None:
        """Draw it at once; states, people and progress follow."""
        rows, people = await self.rows(), await self.people()
        students = {user.id: user for user, role in people if role == MembershipRole.STUDENT}
        holders = {row.user_id for row in rows}
        used = await self.portal.database.run(
            holdings.last_used, {row.vm_id for row in rows}, {*students, *(row.user_id for row in rows if row.user_id)}
        )
        batch = self.portal.operations.newest_batch(self.group.id)
        ended = await self.portal.database.run(lessons.ended, self.group.id, self.user.user_id, utcnow())
        self.render(
            "teacher/class.html",
            group=self.group,
            rows=rows,
            ended=ended,
            used=used,
            without=[user for user in students.values() if user.id not in holders],
            students=len(students),
            batch=self.progress_of(batch) if batch is not None else None,
            version=version((row.id, row.vm.reset_snapshot) for row in rows),
            endable=any(row.class_of is not None and row.class_of.id == self.group.id for row in rows),
        )


@requires(Action.RUN_CLASS, on_class=True)
class ClassStatesHandler(ClassHandler):
    """What changes on that page."""

    answers_json = True

    async def get(self, group_id: str) -> None:
        """Answer what report() says, and ``people`` (who is at which machine), ``batch``, ``counts``."""
        rows = await self.rows()
        found, messages = await states(self.portal, {row.vm_id: row.vm for row in rows}.values())
        watching: dict[int, list[str]] = defaultdict(list)
        names = {user.id: user.display_name or user.username for user, _ in await self.people()}
        for live in self.portal.registry:
            request = live.request
            if request.vm_id in found and not request.wall:
                name = names.get(request.user_id, request.username)
                if request.view_only:
                    name = self.translate("%(name)s (watching)", name=name)
                watching[request.vm_id].append(name)
        batch = self.portal.operations.newest_batch(self.group.id)
        progress = self.progress_of(batch) if batch is not None else None
        running = sum(state.state == "running" for state in found.values())
        self.send_json(
            shown(found, messages, self.translate)
            | {
                "people": {vm_id: ", ".join(dict.fromkeys(who)) for vm_id, who in watching.items()},
                "batch": progress,
                "soon": batch is not None and batch.busy,
                "counts": self.translate(
                    "%(running)d of %(total)d running, %(connected)d connected",
                    running=running,
                    total=len(found),
                    connected=len(watching),
                ),
                "version": version((row.id, row.vm.reset_snapshot) for row in rows),
            }
        )
