"""Signing in and out."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from cyberlab.auth import passwords
from cyberlab.auth.base import RedirectBackend, Rejected
from cyberlab.auth.config import BackendConfig
from cyberlab.db import users
from cyberlab.db.users import NAME_LIMIT
from cyberlab.handlers import outcomes
from cyberlab.handlers.base import HOMES, BaseHandler, public, signed_in
from cyberlab.handlers.forms import sentence
from cyberlab.handlers.paths import own_path
from cyberlab.phrases import Phrase
from cyberlab.problems import SIGNED_OUT

EMPTY = Phrase("Please give your user name and your password.")


@public
class HomeHandler(BaseHandler):
    """The start page is the role's home."""

    def get(self) -> None:
        """Redirect there, or to the sign-in page."""
        self.redirect(HOMES[self.login.role] if self.login else "/auth/login")


class SignInPage(BaseHandler):
    """A handler that can show the sign-in page."""

    def show(
        self, next_: str | None, username: str = "", message: str = "", status: int = 200, *, still: str = ""
    ) -> None:
        """The buttons of single sign-on and the form; what is hidden stands behind a link.

        ``still``: the backend at whose page somebody whom we refuse is signed in; a next try would bring them again.
        """
        backends = self.portal.backends
        config = {item.name: item for item in backends.config.backends}
        everything = self.request.method == "POST" or self.get_query_argument("all", "") == "1"
        ways = [way for way in (*backends.redirect, *backends.proxy) if everything or not _hidden(config, way.name)]
        # Where nothing else is offered, an empty page would help nobody.
        form = everything or not ways or any(not _hidden(config, way.name) for way in backends.password)
        form = form and (bool(backends.password) or not (backends.redirect or backends.proxy))
        left = self.get_query_argument("left", "")
        self.set_status(status)
        self.render(
            "login.html",
            next=next_,
            username=username[:NAME_LIMIT],
            message=self.translate(message),
            ways=[(way.name, way.label) for way in ways],
            form=form,
            more=not everything and any(_hidden(config, name) for name in config),
            left=next(((way.name, way.label) for way in backends.redirect if way.name == left), None),
            still=next(((w.name, w.label) for w in backends.redirect if w.name == still and leaves(w)), None),
            query=urlencode({"next": next_}) if next_ else "",
        )


def leaves(way: RedirectBackend) -> bool:
    """Whether one can be signed out there too."""
    return hasattr(way, "logout_url")


def _hidden(config: Mapping[str, BackendConfig], name: str) -> bool:
    return name in config and config[name].hidden


@public
class LoginHandler(SignInPage):
    """The sign-in page."""

    def get(self) -> None:
        """Show the form, or move on for somebody who is signed in."""
        if self.login is not None:
            self.redirect(own_path(self.get_query_argument("next", "")) or HOMES[self.login.role])
            return
        self.show(own_path(self.get_query_argument("next", "")))

    async def post(self) -> None:
        """Check the name and the password; the password is never sent back."""
        next_ = own_path(self.get_body_argument("next", ""))
        username = self.get_body_argument("username", "")
        password = self.get_body_argument("password", "", strip=False)
        if not username or not password:
            return self.show(next_, username, EMPTY, 401)
        if passwords.too_long(password):
            return self.show(next_, username, sentence(self.translate(passwords.TOO_LONG)), 401)
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
        self.show(next_, username, outcome.message, 401 if outcome.retry_after is None else 429)


@signed_in
class LogoutHandler(BaseHandler):
    """Signing out, by POST alone: a link or picture elsewhere must not do it."""

    async def post(self) -> None:
        """End the login session and the consoles that it opened."""
        user = self.user
        await self.portal.logins.sign_out(user, address=self.client_address)
        self.portal.registry.end(SIGNED_OUT, lambda console: console.login_session_id == user.session_id)
        self.clear_cookie(self.cookie_name("cyberlab"), **self.cookie_flags())
        person = await self.portal.database.run(users.get, user.user_id)
        self.redirect(self._left(person.backend if person else ""), status=303)

    def _left(self, backend: str) -> str:
        """Signed out here is not signed out there: the page then offers that too.

        By a link, since form-action in our policy stops a form's redirect to another site.
        """
        offered = any(way.name == backend and leaves(way) for way in self.portal.backends.redirect)
        return f"/auth/login?{urlencode({'left': backend})}" if offered else "/auth/login"
