"""Signing in and out."""

from __future__ import annotations

from cyberlab.auth import passwords
from cyberlab.auth.base import Rejected
from cyberlab.db.users import NAME_LIMIT
from cyberlab.handlers import outcomes
from cyberlab.handlers.base import HOMES, BaseHandler, public, signed_in
from cyberlab.handlers.forms import sentence
from cyberlab.handlers.paths import own_path
from cyberlab.problems import SIGNED_OUT

EMPTY = "Please give your user name and your password."


@public
class HomeHandler(BaseHandler):
    """The start page is the role's home."""

    def get(self) -> None:
        """Redirect there, or to the sign-in page."""
        self.redirect(HOMES[self.login.role] if self.login else "/auth/login")


@public
class LoginHandler(BaseHandler):
    """The sign-in page."""

    def get(self) -> None:
        """Show the form, or move on for somebody who is signed in."""
        if self.login is not None:
            self.redirect(own_path(self.get_query_argument("next", "")) or HOMES[self.login.role])
            return
        self._show(own_path(self.get_query_argument("next", "")))

    async def post(self) -> None:
        """Check the name and the password; the password is never sent back."""
        next_ = own_path(self.get_body_argument("next", ""))
        username = self.get_body_argument("username", "")
        password = self.get_body_argument("password", "", strip=False)
        if not username or not password:
            return self._show(next_, username, EMPTY, 401)
        if passwords.too_long(password):
            return self._show(next_, username, sentence(str(passwords.PasswordTooLong())), 401)
        outcome = await self.portal.logins.sign_in(
            username,
            password,
            address=self.client_address,
            user_agent=self.request.headers.get("User-Agent", ""),
            device=outcomes.device(self),
        )
        if not isinstance(outcome, Rejected):
            return outcomes.follow(self, outcome, next_)
        if outcome.retry_after is not None:
            self.set_header("Retry-After", f"{outcome.retry_after:.0f}")
        self._show(next_, username, outcome.message, 401 if outcome.retry_after is None else 429)

    def _show(self, next_: str | None, username: str = "", message: str = "", status: int = 200) -> None:
        self.set_status(status)
        self.render("login.html", next=next_, username=username[:NAME_LIMIT], message=message)


@signed_in
class LogoutHandler(BaseHandler):
    """Signing out, by POST alone: a link or picture elsewhere must not do it."""

    async def post(self) -> None:
        """End the login session and the consoles that it opened."""
        user = self.user
        await self.portal.logins.sign_out(user, address=self.client_address)
        self.portal.registry.end(SIGNED_OUT, lambda console: console.login_session_id == user.session_id)
        self.clear_cookie(self.cookie_name("cyberlab"), **self.cookie_flags())
        self.redirect("/auth/login", status=303)
