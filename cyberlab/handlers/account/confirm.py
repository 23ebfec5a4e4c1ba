"""“Is it you?”, before somebody changes how they sign in: by the password, or by a second factor where we know none."""

from __future__ import annotations

import logging
import re
import secrets
import time
from urllib.parse import urlencode

from cyberlab.auth.base import Pending
from cyberlab.auth.login import too_fast
from cyberlab.auth.passkeys import PasskeyRefused
from cyberlab.db import factors, throttle
from cyberlab.db.models import User
from cyberlab.db.throttle import Attempt
from cyberlab.handlers import challenges, recent
from cyberlab.handlers.account.base import HERE, AccountPage
from cyberlab.handlers.base import signed_in
from cyberlab.handlers.challenges import CONFIRM
from cyberlab.phrases import Phrase
from cyberlab.problems import SIGNED_OUT

log = logging.getLogger(__name__)

_PAGE = re.compile(rf"{HERE}/[a-z0-9/]{{1,100}}")
NO_CODE = Phrase("Please give the code.")
NO_PASSWORD = Phrase("Please give your password.")
NO_PASSKEY = Phrase("The passkey was not accepted. Try again.")
WRONG = Phrase("That was not right. A code is good once, and for a minute.")


class ConfirmPage(AccountPage):
    """What the two ways share."""

    @property
    def next(self) -> str:
        """The page that was asked for."""
        path = self.get_argument("next", "")
        return path if _PAGE.fullmatch(path) else HERE

    def has_password(self, account: User) -> bool:
        """Whether there is somebody to ask about a password: not where people come by single sign-on."""
        return any(backend.name == account.backend for backend in self.portal.backends.password)

    def confirmed(self) -> None:
        """On to the page."""
        recent.confirm(self)
        self.redirect(self.next, status=303)

    async def attempt(self, account: User) -> Attempt:
        """Count a try at the second factor, as at sign-in."""
        return await self.portal.logins.factor_attempt(self._pending(account), address=self.client_address)

    async def wrong(self, account: User, attempt: Attempt, factor: str) -> None:
        """Count and note a wrong one."""
        pending = self._pending(account)
        await self.portal.logins.factor_failed(pending, attempt, factor=factor, address=self.client_address)

    async def too_fast(self, account: User, wait: float) -> None:
        """Say when to try again."""
        refused = too_fast(wait)
        self.set_header("Retry-After", f"{refused.retry_after:.0f}")
        await self.show(account, refused.message, 429)

    async def show(self, account: User, message: str = "", status: int = 200) -> None:
        """The page, with what this person can show."""
        by_password = self.has_password(account)
        methods = frozenset() if by_password else await self.portal.database.run(factors.enrolled, account.id)
        question = await self.portal.passkeys.ask(account.id) if methods else None
        challenge = challenges.signed(self, question.challenge, account.id, CONFIRM) if question else ""
        self.set_status(status)
        self.render(
            "account/again.html",
            account=account,
            by_password=by_password,
            methods=methods,
            question=question,
            challenge=challenge,
            message=self.translate(message) if message else "",
            next=self.next,
            back=HERE,
        )

    @staticmethod
    def _pending(account: User) -> Pending:
        return Pending(account.id, account.backend, time.time(), secrets.token_urlsafe(16))


@signed_in
class ConfirmHandler(ConfirmPage):
    """By the password or a code; without either, by signing in again."""

    async def get(self) -> None:
        """Ask, unless it is known already."""
        if recent.is_recent(self, recent.BEGIN):
            return self.redirect(self.next, status=303)
        await self.show(await self.account())

    async def post(self) -> None:
        """Check what was shown."""
        account = await self.account()
        if self.get_body_argument("again", "") == "1":
            return await self._sign_in_again()
        if self.has_password(account):
            return await self._password(account)
        typed = self.get_body_argument("code", "")
        if not typed:
            return await self.show(account, NO_CODE, 422)
        attempt = await self.attempt(account)
        if attempt.wait > 0:
            return await self.too_fast(account, attempt.wait)
        if await self.portal.factors.verify_code(account.id, typed) is None:
            await self.wrong(account, attempt, factors.TOTP)
            return await self.show(account, WRONG, 422)
        await self.portal.database.run(throttle.succeeded, attempt)
        self.confirmed()

    async def _password(self, account: User) -> None:
        password = self.get_body_argument("password", "", strip=False)
        if not password:
            return await self.show(account, NO_PASSWORD, 422)
        refused = await self.portal.logins.confirm(account, password, address=self.client_address)
        if refused is None:
            return self.confirmed()
        if refused.retry_after is not None:
            self.set_header("Retry-After", f"{refused.retry_after:.0f}")
        await self.show(account, refused.message, 422 if refused.retry_after is None else 429)

    async def _sign_in_again(self) -> None:
        user = self.user
        await self.portal.logins.sign_out(user, address=self.client_address)
        self.portal.registry.end(SIGNED_OUT, lambda console: console.login_session_id == user.session_id)
        self.clear_cookie(self.cookie_name("cyberlab"), **self.cookie_flags())
        self.redirect(f"/auth/login?{urlencode({'next': self.next})}", status=303)


@signed_in
class PasskeyConfirmHandler(ConfirmPage):
    """By a passkey."""

    async def get(self) -> None:
        """The page is the other one."""
        self.redirect(f"{HERE}/confirm", status=303)

    async def post(self) -> None:
        """Verify its answer."""
        account = await self.account()
        attempt = await self.attempt(account)
        if attempt.wait > 0:
            return await self.too_fast(account, attempt.wait)
        try:
            challenge, answer = challenges.answered(self, account.id, CONFIRM)
            await self.portal.passkeys.verify(account.id, challenge, answer)
        except PasskeyRefused as error:
            log.info("passkey of %s refused: %s [%s]", account.username, error, self.request_id)
            await self.wrong(account, attempt, factors.WEBAUTHN)
            return await self.show(account, NO_PASSKEY, 422)
        await self.portal.database.run(throttle.succeeded, attempt)
        self.confirmed()
