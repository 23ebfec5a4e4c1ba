"""Assignments: list, create, edit, remove. Many at once: admin_bulk.py; a class's machines: admin_pairing.py."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from cyberlab.auth.access import Action
from cyberlab.db import assignments, groups, overlaps, users, vms
from cyberlab.db.assignment_filter import Filter, Rights, When
from cyberlab.db.engine import reads
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Assignment, Group, User, Vm
from cyberlab.handlers import moments
from cyberlab.handlers.admin.base import ROWS, SUGGESTIONS, AdminHandler
from cyberlab.handlers.admin.edit import EditHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)
LIST = "/admin/assignments"
WHEN = (
    (When.NOW.value, Phrase("in force")),
    (When.ENDING.value, Phrase("ending this week")),
    (When.FUTURE.value, Phrase("not begun")),
    (When.ENDED.value, Phrase("ended")),
)
RIGHTS = (
    (Rights.NEITHER.value, Phrase("open only")),
    (Rights.POWER.value, Phrase("with power")),
    (Rights.RESET.value, Phrase("with reset")),
)
SHARED = Phrase("others have the machine in that time (%(names)s). Tick below if it is to be shared")
NAMED = 5  # of the others
_REFERENCE = re.compile(r"([a-z0-9][a-z0-9-]{0,31})/([0-9]{3,9})")


@dataclass(frozen=True, slots=True)
class Terms:
    """From when until when, and what is allowed."""

    starts_at: datetime | None
    ends_at: datetime | None
    can_power: bool
    can_reset: bool


def terms(form: Form, row: Assignment | None = None) -> Terms:
    """Read and check them; what is wrong is noted in the form. ``row``: what the form was filled with."""
    given = Terms(
        form.moment("starts_at", row.starts_at if row else None),
        form.moment("ends_at", row.ends_at if row else None),
        form.flag("can_power"),
        form.flag("can_reset"),
    )
    if given.starts_at and given.ends_at and given.ends_at <= given.starts_at:
        form.fail("ends_at", "the end has to be after the start")
    return given


@reads
def chosen_vm(s: Session, text: str) -> Vm:
    """The machine meant by ``cluster/vmid`` or by a name that only one has; raise Conflict."""
    reference = _REFERENCE.match(text)
    if reference:
        vm = vms.by_ref(s, reference[1], int(reference[2]))
        if vm is not None:
            return vm
    named = [vm for vm in vms.page(s, search=text, limit=200).rows if vm.name == text]
    if len(named) > 1:
        raise Conflict(
            "vm",
            Phrase("several machines are called “%(name)s”; choose one as cluster/VMID from the list", name=text),
        )
    if not named:
        raise Conflict("vm", "there is no such machine in the portal; choose one from the list")
    return named[0]


@reads
def chosen_user(s: Session, text: str) -> User:
    """The user of that name in whatever backend, if only one has it; raise Conflict."""
    found = users.by_name(s, text)
    if found is None:
        others = [name for name in users.backends_of(s, text) if name != users.LOCAL]
        found = users.by_name(s, text, others[0]) if len(others) == 1 else None
    if found is None:
        raise Conflict("user", "there is no such user; choose one from the list")
    return found


@reads
def chosen_class(s: Session, text: str) -> Group:
    """The class with that id; raise Conflict."""
    group = groups.get(s, int(text)) if re.fullmatch(r"[0-9]{1,18}", text) else None
    if group is None or group.archived_at is not None:
        raise Conflict("class", Phrase("there is no such class any more; choose another one"))
    return group


def some(names: Sequence[str]) -> str:
    """The first of the names, and whether there are more."""
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")


class AssignmentHandler(AdminHandler):
    """A page about one assignment."""

    async def found(self, assignment_id: str) -> Assignment:
        """The assignment, or NotFound."""
        row = await self.portal.database.run(assignments.get, int(assignment_id))
        if row is None:
            raise NotFound(f"assignment {assignment_id}")
        return row

    async def chosen(self, form: Form, find: Callable[[Session, str], T], text: str) -> T | None:
        """What a field names; None with a message at the field where it names nothing."""
        try:
            return await self.portal.database.run(find, text)
        except Conflict as conflict:
            form.conflict(conflict)
            return None


class FilteredHandler(AdminHandler):
    """A page about those assignments that the address means."""

    @property
    def only(self) -> Filter:
        """What the address says; nonsense is left out."""
        return Filter(
            search=self.search,
            group_id=self._id("class"),
            user_id=self._id("user"),
            vm_id=self._id("vm"),
            when=self._one("when", When),
            rights=self._one("rights", Rights),
        )

    def _id(self, name: str) -> int | None:
        value = self.get_query_argument(name, "")
        return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None

    def _one(self, name: str, kinds: type[E]) -> E | None:
        value = self.get_query_argument(name, "")
        return kinds(value) if value in set(kinds) else None


@requires(Action.ADMINISTER)
class AssignmentsHandler(FilteredHandler):
    """The list."""

    async def get(self) -> None:
        """Search by machine, user or class, and by what else the address says."""
        run, only = self.portal.database.run, self.only
        page = await run(assignments.page, only=only, offset=self.offset, limit=ROWS)
        if self.beyond(page):
            return self.redirect(LIST)
        user = None if only.user_id is None else await run(users.get, only.user_id)
        vm = None if only.vm_id is None else await run(vms.get, only.vm_id)
        self.render(
            "admin/assignments.html",
            page=page,
            only=only,
            filtered=only != Filter(),
            classes=await self.class_options(only.group_id),
            when=[(value, self.translate(text)) for value, text in WHEN],
            rights=[(value, self.translate(text)) for value, text in RIGHTS],
            user=user,
            vm=vm,
        )


@requires(Action.ADMINISTER)
class NewAssignmentHandler(AssignmentHandler):
    """Giving a machine to a user, to a class, or to a user for a class's sake."""

    async def get(self) -> None:
        """Show the form; the address may name the user, the class and the machine."""
        values = {name: self.get_query_argument(name, "")[:255] for name in ("user", "class", "vm")}
        await self._show(Form(values))

    async def post(self) -> None:
        """Create it, or show the form again with what is wrong."""
        form = Form.sent(self)
        username, machine, given = form.text("user", required=False), form.text("vm"), terms(form)
        user = await self.chosen(form, chosen_user, username) if username else None
        group = await self.chosen(form, chosen_class, form.values["class"]) if form.values.get("class") else None
        vm = await self.chosen(form, chosen_vm, machine) if machine else None
        if user is None and group is None:
            form.fail("user", Phrase("please choose a user, a class, or both"))
        if vm is not None and not form.errors:
            await self._warn(form, vm, given, user, group)
        if vm is not None and not form.errors:
            try:
                await self.portal.database.run(
                    assignments.create,
                    self.actor,
                    vm_id=vm.id,
                    user_id=user.id if user else None,
                    group_id=group.id if group and not user else None,
                    via_group_id=group.id if group and user else None,
                    starts_at=given.starts_at,
                    ends_at=given.ends_at,
                    can_power=given.can_power,
                    can_reset=given.can_reset,
                )
                holder = user.username if user else group.name if group else ""
                return self.done(
                    LIST, Phrase("%(machine)s is assigned to %(name)s.", machine=vm.name or vm.vmid, name=holder)
                )
            except Conflict as conflict:
                names = {"user_id": "user", "group_id": "class", "vm_id": "vm"}
                form.fail(names.get(conflict.field, conflict.field), conflict.message)
        await self._show(form)

    async def _warn(self, form: Form, vm: Vm, given: Terms, user: User | None, group: Group | None) -> None:
        """Ask once more where others have the machine in that time."""
        found = await self.portal.database.run(overlaps.holders, [vm.id], given.starts_at, given.ends_at)
        mine = (user and user.id, group.id if group and not user else None)
        others = [holder.name for holder in found.get(vm.id, ()) if (holder.user_id, holder.group_id) != mine]
        if others and not form.flag("shared"):
            names = some(others)
            form.fail("vm", Phrase(SHARED.key, names=names))
            form.values = {**form.values, "others": names}

    async def _show(self, form: Form) -> None:
        people = await self.portal.database.run(users.page, limit=SUGGESTIONS)
        machines = await self.portal.database.run(vms.page, limit=SUGGESTIONS)
        self.set_status(422 if form.errors else 200)
        self.render(
            "admin/assignment.html",
            form=form,
            row=None,
            users=[(user.username, user.display_name) for user in people.rows],
            classes=[("", self.translate("no class")), *await self.class_options(None)],
            vms=[(f"{vm.cluster}/{vm.vmid}", vm.name) for vm in machines.rows],
        )


@requires(Action.ADMINISTER)
class EditAssignmentHandler(AssignmentHandler, EditHandler[Assignment, Terms]):
    """Changing times and rights; another user or machine is another assignment."""

    others = ""  # who have the machine in the time that was asked for

    def shown(self, row: Assignment) -> dict[str, str]:
        """Its times and rights."""
        return {
            "starts_at": moments.value(row.starts_at, self.zone),
            "ends_at": moments.value(row.ends_at, self.zone),
            "can_power": "1" if row.can_power else "",
            "can_reset": "1" if row.can_reset else "",
        }

    def read(self, form: Form, row: Assignment) -> Terms:
        """The same."""
        return terms(form, row)

    async def save(self, row: Assignment, given: Terms, version: int) -> None:
        """Change it; ask first where others come into its time who were not there before."""
        if self.get_body_argument("shared", "") != "1":
            new = await self.portal.database.run(overlaps.newcomers, row, given.starts_at, given.ends_at)
            if new:
                self.others = some([holder.name for holder in new])
                changed = "starts_at" if given.ends_at == row.ends_at else "ends_at"
                raise Conflict(changed, Phrase(SHARED.key, names=self.others))
        await self.portal.database.run(
            assignments.update,
            self.actor,
            row.id,
            starts_at=given.starts_at,
            ends_at=given.ends_at,
            can_power=given.can_power,
            can_reset=given.can_reset,
            version=version,
        )
        self.done(LIST, Phrase("The assignment of %(machine)s was saved.", machine=row.vm.name or row.vm.vmid))

    async def show(self, form: Form, row: Assignment) -> None:
        """The form."""
        if self.others:
            form.values = {**form.values, "others": self.others}
        self.render("admin/assignment.html", form=form, row=row, users=(), classes=(), vms=())


@requires(Action.ADMINISTER)
class RemoveAssignmentHandler(AssignmentHandler):
    """Taking a machine away, after a question."""

    async def get(self, assignment_id: str) -> None:
        """Ask."""
        row = await self.found(assignment_id)
        machine = row.vm.name or row.vm.vmid
        if row.group is not None:
            title = Phrase("Take %(machine)s away from the class %(name)s?", machine=machine, name=row.group.name)
        else:
            name = row.user.username if row.user else "?"
            title = Phrase("Take %(machine)s away from %(name)s?", machine=machine, name=name)
        self.confirm(
            title=title,
            text="Open consoles end at once. The machine itself is not changed.",
            button="Remove the assignment",
            back=f"{LIST}/{row.id}",
        )

    async def post(self, assignment_id: str) -> None:
        """Remove; the consoles that it allowed end by the portal's re-authorization."""
        row = await self.found(assignment_id)
        await self.portal.database.run(assignments.delete, self.actor, row.id)
        self.done(LIST, Phrase("The assignment of %(machine)s was removed.", machine=row.vm.name or row.vm.vmid))
