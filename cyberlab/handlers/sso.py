"""Single sign-on: sending the browser to somebody else's page, and judging what it brings back."""

from __future__ import annotations

import json
import logging

from tornado.web import HTTPError

from cyberlab.auth.admission import UNKNOWN_GROUPS
from cyberlab.auth.base import BackendUnavailable, Identity, RedirectBackend, Rejected, SignInRefused
from cyberlab.auth.proxy import ProxyBackend
from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.handlers import outcomes
from cyberlab.handlers.base import public
from cyberlab.handlers.explanations import NO_SUCH_PAGE, Refusal
from cyberlab.handlers.login import SignInPage
from cyberlab.handlers.paths import own_path
from cyberlab.phrases import Phrase

COOKIE = "cyberlab-sso"
LIFETIME = 600.0  # seconds for a sign-in at the other page
LONGEST_ARGUMENT = 8192  # characters
_DAY = 86_400.0
# What those who run the portal have to mend, not the person in front of the page; with the page's status.
_OURS = {"untrusted-proxy": 403, "groups": 403, "client": 503}
log = logging.getLogger(__name__)


class _SsoHandler(SignInPage):
    """What the handlers share: the backend, and the words for what went wrong."""

    def redirecting(self, name: str) -> RedirectBackend | None:
        """The backend of that name, if it sends browsers elsewhere."""
        return next((backend for backend in self.portal.backends.redirect if backend.name == name), None)

    def callback_url(self, name: str) -> str:
        """From PUBLIC_URL, never from the request: its Host header is the sender's choice."""
        return f"{self.portal.config.public_url}/auth/sso/{name}/callback"

    def forget(self) -> None:
        """Take the cookie back: what it allowed is done."""
        self.clear_cookie(self.cookie_name(COOKIE), **self.cookie_flags())

    async def admit(self, identity: Identity, next_: str | None) -> None:
        """Sign in, or say why not."""
        outcome = await self.portal.logins.sign_in_identity(
            identity,
            address=self.client_address,
            user_agent=self.request.headers.get("User-Agent", ""),
            device=outcomes.device(self),
        )
        if isinstance(outcome, Rejected):
            return self.show(next_, message=outcome.message, status=403, still=identity.backend)
        outcomes.follow(self, outcome, next_)

    async def refuse(self, name: str, label: str, error: SignInRefused | BackendUnavailable) -> None:
        """The page and the audit row for a sign-in that came to nothing."""
        actor = Actor(None, "", self.client_address)
        if isinstance(error, BackendUnavailable):
            log.warning("%s is not reachable: %s", name, error.detail)
            await self.portal.database.run(audit.record, actor, "login.unavailable", "", f"{name}: {error.detail}")
            message = Phrase("“%(name)s” is not reachable just now. Please try again in a few minutes.", name=label)
            return self.show(None, message=message, status=503)
        detail = f"{name}: {error.code}: {error.detail}"
        log.log(logging.WARNING if error.code in _OURS else logging.INFO, "sign-in refused: %s", detail)
        await self.portal.database.run(audit.record, actor, "login.failure", "", detail)
        self.show(None, message=_words(error.code, label), status=_OURS.get(error.code, 401))


@public
class StartHandler(_SsoHandler):
    """Where the sign-in page's buttons lead."""

    async def head(self, *args: str, **kwargs: str) -> None:
        """A way to sign in begins by GET alone: whoever only looks is no browser."""
        raise HTTPError(405)

    async def get(self, name: str) -> None:
        """Redirect to the backend's page, or take the word of the proxy in front."""
        next_ = own_path(self.get_query_argument("next", ""))
        if self.login is not None:
            return self.redirect(next_ or "/", status=303)
        for proxy in self.portal.backends.proxy:
            if isinstance(proxy, ProxyBackend) and proxy.name == name:
                return await self._by_proxy(proxy, next_)
        backend = self.redirecting(name)
        if backend is None:
            raise Refusal(404, NO_SUCH_PAGE)
        try:
            start = await backend.begin(self.callback_url(name))
        except BackendUnavailable as error:
            return await self.refuse(name, backend.label, error)
        value = json.dumps([name, next_, dict(start.state)])
        self.set_signed_cookie(self.cookie_name(COOKIE), value, expires_days=None, **self.cookie_flags())
        self.redirect(start.url, status=303)

    async def _by_proxy(self, proxy: ProxyBackend, next_: str | None) -> None:
        try:
            identity = proxy.identify(self.request.remote_ip or "", self.request.headers.get_list)
        except SignInRefused as error:
            return await self.refuse(proxy.name, proxy.label, error)
        await self.admit(identity, next_)


@public
class CallbackHandler(_SsoHandler):
    """Where the other page sends the browser back to."""

    async def head(self, *args: str, **kwargs: str) -> None:
        """What came back is good once, and must not be used up by a look."""
        raise HTTPError(405)

    async def get(self, name: str) -> None:
        """Judge what came back; the cookie ties it to the browser that began, and is good once."""
        backend = self.redirecting(name)
        if backend is None:
            raise Refusal(404, NO_SUCH_PAGE)
        value = self.get_signed_cookie(self.cookie_name(COOKIE), max_age_days=LIFETIME / _DAY)
        self.forget()
        try:
            if value is None:
                raise SignInRefused("state", "not begun in this browser, or too long ago")
            begun, next_, state = json.loads(value)
            if begun != name:
                raise SignInRefused("state", "begun with another backend")
            identity = await backend.finish(self.callback_url(name), state, self._arguments())
        except (SignInRefused, BackendUnavailable) as error:
            return await self.refuse(name, backend.label, error)
        await self.admit(identity, next_)

    def _arguments(self) -> dict[str, str]:
        found = {}
        for argument in self.request.query_arguments:
            values = self.get_query_arguments(argument)
            if len(values) != 1 or len(values[0]) > LONGEST_ARGUMENT:
                raise SignInRefused("arguments", "one comes twice, or is too long")
            found[argument] = values[0]
        return found


@public
class SsoLogoutHandler(_SsoHandler):
    """The way out of the other page too; it only sends the browser there."""

    async def get(self, name: str) -> None:
        """Redirect to its sign-out page, which asks and comes back."""
        backend = self.redirecting(name)
        leave = getattr(backend, "logout_url", None)
        if backend is None or leave is None:
            raise Refusal(404, NO_SUCH_PAGE)
        try:
            url = await leave(f"{self.portal.config.public_url}/auth/login")
        except BackendUnavailable as error:
            return await self.refuse(name, backend.label, error)
        self.redirect(url or "/auth/login", status=303)


def _words(code: str, label: str) -> str:
    if code == "state":
        return Phrase("This sign-in was not begun in this browser, or it took too long. Please begin again.")
    if code == "denied":
        return Phrase("The sign-in by “%(name)s” was cancelled or refused there.", name=label)
    if code == "client":
        return Phrase("“%(name)s” does not take this portal as it is set up. Please tell those who run it.", name=label)
    if code == "groups":
        return UNKNOWN_GROUPS
    if code == "untrusted-proxy":
        return Phrase("“%(name)s” works through the portal's own address only.", name=label)
    return Phrase("What came back from “%(name)s” does not prove who you are. Please begin again.", name=label)
