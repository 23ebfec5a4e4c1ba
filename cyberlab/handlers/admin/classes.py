"""Classes: list, create, rename, archive and bring back, remove. Who is in them: admin_members.py."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import groups, members
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Group, MembershipRole, utcnow
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.admin.edit import EditHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase

LIST = "/admin/classes"
ROLES = (
    (MembershipRole.STUDENT.value, Phrase("student")),
    (MembershipRole.TEACHER.value, Phrase("teacher")),
)


class ClassHandler(AdminHandler):
    """A page about one class."""

    async def found(self, group_id: str) -> Group:
        """The class, or NotFound."""
        group = await self.portal.database.run(groups.get, int(group_id))
        if group is None:
            raise NotFound(f"class {group_id}")
        return group

    async def show_class(self, group: Group, form: Form, status: int = 200) -> None:
        """The class with its members; ``form``: its name, or names to add that some were wrong in."""
        run = self.portal.database.run
        page = await run(members.page, group.id, search=self.search, offset=self.offset, limit=ROWS)
        self.set_status(status)
        self.render(
            "admin/class.html",
            group=group,
            form=form,
            page=page,
            q=self.search,
            counts=(await run(groups.counts, [group.id]))[group.id],
            roles=[(value, self.translate(text)) for value, text in ROLES],
        )


@requires(Action.ADMINISTER)
class ClassesHandler(AdminHandler):
    """The list."""

    async def get(self) -> None:
        """Search by name; archived classes only when asked for."""
        archived = self.get_query_argument("archived", "") == "1"
        run = self.portal.database.run
        page = await run(groups.page, search=self.search, archived=archived, offset=self.offset, limit=ROWS)
        if self.beyond(page):
            return self.redirect(LIST)
        counts = await run(groups.counts, [group.id for group in page.rows])
        self.render("admin/classes.html", page=page, counts=counts, q=self.search, archived=archived)


@requires(Action.ADMINISTER)
class NewClassHandler(ClassHandler):
    """Making a class by hand; those of a directory appear by themselves."""

    def get(self) -> None:
        """Show the empty form."""
        self._show(Form())

    async def post(self) -> None:
        """Make it, or show the form again with what is wrong."""
        form = Form.sent(self)
        name = form.text("name")
        if not form.errors:
            try:
                group = await self.portal.database.run(groups.create, self.actor, name=name)
                notice = Phrase("The class %(name)s was made. Now put people into it.", name=group.name)
                return self.done(f"{LIST}/{group.id}", self.translate(notice))
            except Conflict as conflict:
                form.conflict(conflict)
        self._show(form)

    def _show(self, form: Form) -> None:
        self.set_status(422 if form.errors else 200)
        self.render("admin/class_new.html", form=form)


@requires(Action.ADMINISTER)
class EditClassHandler(ClassHandler, EditHandler[Group, str]):
    """One class: who is in it, and its name."""

    def shown(self, row: Group) -> dict[str, str]:
        """Its name."""
        return {"name": row.name}

    def read(self, form: Form, row: Group) -> str:
        """The name."""
        return form.text("name")

    async def save(self, row: Group, given: str, version: int) -> None:
        """Rename."""
        await self.portal.database.run(groups.rename, self.actor, row.id, name=given, version=version)
        self.done(f"{LIST}/{row.id}", self.translate(Phrase("The class %(name)s was saved.", name=given)))

    async def show(self, form: Form, row: Group) -> None:
        """The class."""
        await self.show_class(row, form, self.get_status())


@requires(Action.ADMINISTER)
class ArchiveClassHandler(ClassHandler):
    """The end of term, after saying what ends; and bringing a class back."""

    async def get(self, group_id: str) -> None:
        """Ask."""
        group = await self.found(group_id)
        back = f"{LIST}/{group.id}"
        if group.archived_at is not None:
            return self.confirm(
                title=self.translate("Bring %(name)s back?", name=group.name),
                text=self.translate(
                    "It appears again with its members, and its machines are theirs again for as long as they "
                    "were given."
                ),
                button=self.translate("Bring back"),
                back=back,
                danger=False,
                hidden={"archive": "0"},
            )
        ends = await self.portal.database.run(groups.in_force, group.id, utcnow())
        machines = await self.portal.database.run(groups.machine_ids, group.id)
        consoles = sum(console.request.vm_id in machines for console in self.portal.registry)
        self.confirm(
            title=self.translate("Archive %(name)s?", name=group.name),
            text=" ".join(
                (
                    self.translate(
                        "One assignment that is in force ends.",
                        "%(count)d assignments that are in force end.",
                        count=ends,
                    ),
                    self.translate(
                        "One console is open on its machines; it closes at once unless something else allows it.",
                        "%(count)d consoles are open on its machines; they close at once unless something else "
                        "allows them.",
                        count=consoles,
                    ),
                    self.translate(
                        "The class disappears from its teachers' and students' pages. Nothing is removed: it can be "
                        "brought back with all that it had."
                    ),
                )
            ),
            button=self.translate("Archive"),
            back=back,
            danger=False,
            hidden={"archive": "1"},
        )

    async def post(self, group_id: str) -> None:
        """Do what the form was about, not its opposite; open consoles end by the portal's re-authorization."""
        if self.get_body_argument("archive", "1") == "1":
            group = await self.portal.database.run(groups.archive, self.actor, int(group_id))
            notice = Phrase("The class %(name)s is archived.", name=group.name)
        else:
            group = await self.portal.database.run(groups.restore, self.actor, int(group_id))
            notice = Phrase("The class %(name)s is back.", name=group.name)
        self.done(f"{LIST}/{group.id}", self.translate(notice))


@requires(Action.ADMINISTER)
class RemoveClassHandler(ClassHandler):
    """Removing, after a question."""

    async def get(self, group_id: str) -> None:
        """Ask."""
        group = await self.found(group_id)
        counts = (await self.portal.database.run(groups.counts, [group.id]))[group.id]
        self.confirm(
            title=self.translate("Remove the class %(name)s?", name=group.name),
            text=self.translate(
                "Its memberships (%(students)d students, %(teachers)d teachers) and the assignments of %(machines)d "
                "machines for its sake go with it, and cannot be brought back. People and machines stay. At the end of "
                "a term, archive it instead.",
                students=counts.students,
                teachers=counts.teachers,
                machines=counts.machines,
            ),
            button=self.translate("Remove the class"),
            back=f"{LIST}/{group.id}",
        )

    async def post(self, group_id: str) -> None:
        """Remove; the consoles that it allowed end by the portal's re-authorization."""
        group = await self.found(group_id)
        await self.portal.database.run(groups.delete, self.actor, group.id)
        self.done(LIST, self.translate(Phrase("The class %(name)s was removed.", name=group.name)))
