"""My account: what there is, and the password."""

from __future__ import annotations

from urllib.parse import urlencode

from cyberlab.auth.config import Policy
from cyberlab.db import devices, factors, logins, users
from cyberlab.db.models import User, utcnow
from cyberlab.handlers import new_passwords, recent
from cyberlab.handlers.agents import browser_words
from cyberlab.handlers.base import BaseHandler, Question, signed_in
from cyberlab.handlers.forms import Form
from cyberlab.problems import SIGNED_OUT

HERE = "/account"


class AccountPage(BaseHandler):
    """A page about who is signed in."""

    async def account(self) -> User:
        """The row of who is signed in."""
        user = await self.portal.database.run(users.get, self.user.user_id)
        assert user is not None  # the login session would have gone with it
        return user

    @property
    def policy(self) -> Policy:
        """What the second factor is for this role."""
        return self.portal.backends.config.second_factor.policy(self.user.role)

    def done(self, notice: str) -> None:
        """A change was made: back to the account, and say so."""
        self.notify(notice)
        self.redirect(HERE, status=303)

    def confirm(self, *, title: str, text: str, button: str, status: int = 200, problem: str = "") -> None:
        """Ask first."""
        self.ask_first("account/confirm.html", Question(title, text, button, HERE), status=status, problem=problem)


class ConfirmedPage(AccountPage):
    """A page for which somebody has to have shown lately that it is them, not whoever found the browser open."""

    part_of_a_page = False

    async def prepare(self) -> None:
        """Ask for the password again where that was too long ago."""
        await super().prepare()
        if self._finished:
            return
        self.check()
        opens = self.request.method != "POST" and not self.part_of_a_page
        if not recent.is_recent(self, recent.BEGIN if opens else recent.FINISH):
            self.redirect(f"{HERE}/confirm?{urlencode({'next': self.page})}", status=303)

    def check(self) -> None:
        """What else has to hold; raise Refusal."""

    @property
    def page(self) -> str:
        """The page to come back to."""
        return self.request.path


@signed_in
class AccountHandler(AccountPage):
    """Everything at a glance."""

    async def get(self) -> None:
        """Show it."""
        run, now = self.portal.database.run, utcnow()
        self.render(
            "account/account.html",
            account=await self.account(),
            held=await run(factors.overview, self.user.user_id),
            policy=self.policy.value,
            sessions=await run(logins.of_user, self.user.user_id, now, self.portal.config.login_idle),
            devices=await run(devices.of_user, self.user.user_id, now),
            passkeys=self.portal.passkeys.possible,
            browser_words=browser_words,
        )


@signed_in
class PasswordHandler(AccountPage):
    """Changing the password, of a local account."""

    async def get(self) -> None:
        """Show the form."""
        self._show(Form(), await self.account())

    async def post(self) -> None:
        """Check the present one, like a sign-in; set the new one; sign out everywhere else."""
        form, account = Form.sent(self), await self.account()
        if account.backend != users.LOCAL:
            return self._show(form, account)
        old = self.get_body_argument("old", "", strip=False)
        new = self.get_body_argument("new", "", strip=False)
        if not old:
            form.fail("old", "please give your present password")
        known = (account.username, account.display_name, account.email)
        problem = await new_passwords.problem(self.portal, new, *known)
        if problem is not None:
            form.fail("new", problem)
        elif new != self.get_body_argument("again", "", strip=False):
            form.fail("again", "the two are not the same")
        if form.errors or not await self._holds(form, account, old):
            return self._show(form, account)
        mine, hashed = self.user.session_id, await new_passwords.hashed(self.portal, new)
        await self.portal.database.run(users.set_password, self.actor, account.id, hashed, keep=mine)
        self.portal.registry.end(
            SIGNED_OUT, lambda console: console.user_id == account.id and console.login_session_id != mine
        )
        self.done("Your password was changed. You are signed out everywhere else.")

    async def _holds(self, form: Form, account: User, old: str) -> bool:
        """Whether that is the present password."""
        refused = await self.portal.logins.confirm(account, old, address=self.client_address)
        if refused is not None:
            form.fail("old", refused.message)
        return refused is None

    def _show(self, form: Form, account: User) -> None:
        self.set_status(422 if form.errors else 200)
        self.render("account/password.html", form=form, account=account, local=account.backend == users.LOCAL)
