"""Users: list, create, edit, disable, a new password, remove."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cyberlab.auth.access import Action
from cyberlab.db import assignments, factors, members, throttle, users
from cyberlab.db.assignment_filter import Filter
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Role, User
from cyberlab.db.user_filter import UserFilter
from cyberlab.handlers import new_passwords
from cyberlab.handlers.admin.base import ROWS, AdminHandler
from cyberlab.handlers.admin.edit import EditHandler
from cyberlab.handlers.base import requires
from cyberlab.handlers.common import ROLES
from cyberlab.handlers.forms import Form
from cyberlab.phrases import Phrase
from cyberlab.problems import DEACTIVATED, SIGNED_OUT

LIST = "/admin/users"
OPTIONS = tuple((role.value, ROLES[role]) for role in Role)
SHOWN = 20  # of what somebody holds, on their page


@dataclass(frozen=True, slots=True)
class UserInput:
    """The part of the form that creating and editing share."""

    display_name: str
    email: str | None
    role: Role


def user_input(form: Form) -> UserInput:
    """Read and check it; what is wrong is noted in the form."""
    return UserInput(
        form.text("display_name", required=False),
        form.text("email", longest=320, required=False) or None,
        form.choice("role", Role),
    )


class UserHandler(AdminHandler):
    """A page about one user."""

    async def found(self, user_id: str) -> User:
        """The user, or NotFound."""
        user = await self.portal.database.run(users.get, int(user_id))
        if user is None:
            raise NotFound(f"user {user_id}")
        return user

    async def new_password(self, form: Form, *known: str | None) -> str:
        """Read a new password and check it as the account page does; ``known``: what others know of its owner."""
        password = form.values.get("password", "")
        problem = await new_passwords.problem(self.portal, password, *known)
        if problem is not None:
            form.fail("password", problem)
        return password

    async def hashed(self, password: str) -> str:
        """The password's hash."""
        return await new_passwords.hashed(self.portal, password)


class FilteredUsersHandler(AdminHandler):
    """A page about those users that the address means."""

    @property
    def only(self) -> UserFilter:
        """What the address says; nonsense is left out."""
        role, active = self.get_query_argument("role", ""), self.get_query_argument("active", "")
        group = self.get_query_argument("class", "")
        return UserFilter(
            search=self.search,
            role=Role(role) if role in set(Role) else None,
            backend=self.get_query_argument("backend", "")[:64] or None,
            active=active == "1" if active in ("0", "1") else None,
            group_id=int(group) if re.fullmatch(r"[0-9]{1,18}", group) else None,
        )


@requires(Action.ADMINISTER)
class UsersHandler(FilteredUsersHandler):
    """The list."""

    async def get(self) -> None:
        """Search by name or mail address, and by what else the address says."""
        run, only = self.portal.database.run, self.only
        page = await run(users.page, only=only, offset=self.offset, limit=ROWS)
        if self.beyond(page):
            return self.redirect(LIST)
        self.render(
            "admin/users.html",
            page=page,
            only=only,
            filtered=only != UserFilter(),
            held=await run(assignments.held_by, [user.id for user in page.rows]),
            roles=OPTIONS,
            backends=await run(users.backends),
            classes=await self.class_options(only.group_id),
        )


@requires(Action.ADMINISTER)
class NewUserHandler(UserHandler):
    """Creating a local account."""

    def get(self) -> None:
        """Show the empty form."""
        self._show(Form({"role": Role.STUDENT.value}))

    async def post(self) -> None:
        """Create the user, or show the form again with what is wrong."""
        form = Form.sent(self)
        username, given = form.text("username"), user_input(form)
        password = await self.new_password(form, username, given.display_name, given.email)
        if not form.errors:
            try:
                user = await self.portal.database.run(
                    users.create,
                    self.actor,
                    username=username,
                    role=given.role,
                    password_hash=await self.hashed(password),
                    display_name=given.display_name,
                    email=given.email,
                )
                return self.done(LIST, Phrase("User %(name)s was created.", name=user.username))
            except Conflict as conflict:
                form.conflict(conflict)
        self._show(form)

    def _show(self, form: Form) -> None:
        self.set_status(422 if form.errors else 200)
        self.render("admin/user.html", form=form, user=None, roles=OPTIONS, held=frozenset(), given=None)


@requires(Action.ADMINISTER)
class EditUserHandler(UserHandler, EditHandler[User, UserInput]):
    """Changing name, address and role; and all that is known of somebody."""

    def shown(self, row: User) -> dict[str, str]:
        """Name, address and role."""
        return {"display_name": row.display_name, "email": row.email or "", "role": row.role.value}

    def read(self, form: Form, row: User) -> UserInput:
        """The same."""
        return user_input(form)

    async def save(self, row: User, given: UserInput, version: int) -> None:
        """Change the user."""
        await self.portal.database.run(
            users.update,
            self.actor,
            row.id,
            display_name=given.display_name,
            email=given.email,
            role=given.role,
            version=version,
        )
        self.done(LIST, Phrase("User %(name)s was saved.", name=row.username))

    async def show(self, form: Form, row: User) -> None:
        """The page."""
        run = self.portal.database.run
        only = Filter(user_id=row.id)
        self.render(
            "admin/user.html",
            form=form,
            user=row,
            roles=OPTIONS,
            held=await run(factors.enrolled, row.id),
            given=await run(assignments.page, only=only, limit=SHOWN),
            classes=await run(members.classes_of, row.id),
            open=sum(console.request.user_id == row.id for console in self.portal.registry),
        )


@requires(Action.ADMINISTER)
class ActiveUserHandler(UserHandler):
    """Disabling and enabling."""

    async def get(self, user_id: str) -> None:
        """Ask."""
        self._ask(await self.found(user_id))

    async def post(self, user_id: str) -> None:
        """Do what the form was about, not its opposite if somebody was quicker."""
        active = self.get_body_argument("active", "") == "1"
        user = await self.found(user_id)
        try:
            await self.portal.database.run(users.set_active, self.actor, user.id, active)
        except Conflict as conflict:
            return self._ask(user, 422, conflict.message)
        if not active:
            self.portal.registry.end(DEACTIVATED, lambda console: console.user_id == user.id)
        enabled = Phrase("User %(name)s was enabled.", name=user.username)
        disabled = Phrase("User %(name)s was disabled.", name=user.username)
        self.done(f"{LIST}/{user.id}", enabled if active else disabled)

    def _ask(self, user: User, status: int = 200, problem: str = "") -> None:
        if user.active:
            title = self.translate("Disable %(name)s?", name=user.username)
            button = self.translate("Disable")
            text = self.translate(
                "They are signed out everywhere, their consoles end, and they cannot sign in until you enable the "
                "account again. Nothing is removed."
            )
        else:
            title = self.translate("Enable %(name)s?", name=user.username)
            button = self.translate("Enable")
            text = self.translate("They can sign in again, with the assignments that they had.")
        self.confirm(
            title=title,
            text=text,
            button=button,
            back=f"{LIST}/{user.id}",
            status=status,
            problem=problem,
            danger=False,
            hidden={"active": "0" if user.active else "1"},
        )


@requires(Action.ADMINISTER)
class PasswordHandler(UserHandler):
    """Setting a new password."""

    async def get(self, user_id: str) -> None:
        """Show the form."""
        self._show(Form(), await self.found(user_id))

    async def post(self, user_id: str) -> None:
        """Set it; whoever is signed in with the old one is signed out."""
        form = Form.sent(self)
        user = await self.found(user_id)
        password = await self.new_password(form, user.username, user.display_name, user.email)
        if not form.errors:
            try:
                hashed = await self.hashed(password)
                await self.portal.database.run(users.set_password, self.actor, user.id, hashed)
                self.portal.registry.end(SIGNED_OUT, lambda console: console.user_id == user.id)
                return self.done(f"{LIST}/{user.id}", Phrase("User %(name)s has a new password.", name=user.username))
            except Conflict as conflict:
                form.conflict(conflict)
        self._show(form, user)

    def _show(self, form: Form, user: User) -> None:
        self.set_status(422 if form.errors else 200)
        self.render("admin/user_password.html", form=form, user=user)


@requires(Action.ADMINISTER)
class RemoveUserHandler(UserHandler):
    """Removing, after a question."""

    async def get(self, user_id: str) -> None:
        """Ask."""
        self._ask(await self.found(user_id))

    async def post(self, user_id: str) -> None:
        """Remove."""
        user = await self.found(user_id)
        try:
            await self.portal.database.run(users.delete, self.actor, user.id)
        except Conflict as conflict:
            return self._ask(user, 422, conflict.message)
        self.portal.registry.end(DEACTIVATED, lambda console: console.user_id == user.id)
        self.done(LIST, Phrase("User %(name)s was removed.", name=user.username))

    def _ask(self, user: User, status: int = 200, problem: str = "") -> None:
        self.confirm(
            title=Phrase("Remove %(name)s?", name=user.username),
            text="Their assignments and memberships go with them, and open consoles end. What they did stays in the "
            "audit. To lock somebody out for a while, disable the account instead.",
            button="Remove the user",
            back=f"{LIST}/{user.id}",
            status=status,
            problem=problem,
        )


@requires(Action.ADMINISTER)
class SignOutHandler(UserHandler):
    """Signing somebody out everywhere, after a question: who left a group is then looked at anew."""

    async def get(self, user_id: str) -> None:
        """Ask."""
        user = await self.found(user_id)
        self.confirm(
            title=self.translate("Sign %(name)s out everywhere?", name=user.username),
            text=self.translate(
                "Their open consoles end within a second, and no browser is remembered any more. They can sign in "
                "again if their directory and its groups still let them."
            ),
            button=self.translate("Sign out everywhere"),
            back=f"{LIST}/{user.id}",
            danger=False,
        )

    async def post(self, user_id: str) -> None:
        """Do it."""
        user = await self.found(user_id)
        await self.portal.database.run(users.sign_out, self.actor, user.id)
        self.portal.registry.end(SIGNED_OUT, lambda console: console.user_id == user.id)
        self.done(f"{LIST}/{user.id}", self.translate("%(name)s is signed out everywhere.", name=user.username))


@requires(Action.ADMINISTER)
class ResetFactorsHandler(UserHandler):
    """Taking somebody's second factors off, after a question: the phone is gone, and the recovery codes with it."""

    async def get(self, user_id: str) -> None:
        """Ask."""
        user = await self.found(user_id)
        self.confirm(
            title=Phrase("Reset the second factors of %(name)s?", name=user.username),
            text="Their apps, passkeys, recovery codes and remembered browsers are removed, and they are signed out "
            "everywhere. Until they set up a new one, the password alone lets them in: be sure who asked you.",
            button="Reset the second factors",
            back=f"{LIST}/{user.id}",
        )

    async def post(self, user_id: str) -> None:
        """Reset."""
        user = await self.found(user_id)
        done = await self.portal.database.run(factors.reset, self.actor, user.id)
        await self.portal.database.run(throttle.unlock, self.actor, user.username)
        self.portal.registry.end(SIGNED_OUT, lambda console: console.user_id == user.id)
        reset = Phrase("The second factors of %(name)s were reset.", name=user.username)
        none = Phrase("%(name)s had no second factor.", name=user.username)
        self.done(f"{LIST}/{user.id}", reset if done else none)
