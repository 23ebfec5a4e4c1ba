"""The pages between the password and the login session: show the second factor, or enrol the first one."""

from __future__ import annotations

import logging
from datetime import datetime

from cyberlab.auth import totp
from cyberlab.auth.admission import LATER
from cyberlab.auth.base import Pending, Rejected, SignedIn
from cyberlab.auth.factors import RECOVERY, AlreadyEnrolled, Person
from cyberlab.auth.login import too_fast
from cyberlab.auth.passkeys import PasskeyRefused
from cyberlab.db import factors, users
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict
from cyberlab.db.models import User, utcnow
from cyberlab.handlers import challenges, outcomes, pending
from cyberlab.handlers.base import BaseHandler, public
from cyberlab.handlers.challenges import ADD, SIGN_IN
from cyberlab.handlers.explanations import Explanation, Refusal
from cyberlab.handlers.forms import Form
from cyberlab.handlers.paths import own_path
from cyberlab.phrases import Phrase

log = logging.getLogger(__name__)

NO_PASSKEY = Phrase("The passkey was not accepted. Try again, or use a code.")
WRONG = Phrase("That was not right. A code is good once, and for a minute.")
EMPTY = Phrase("Please give the code.")


class PendingHandler(BaseHandler):
    """A page for somebody who has shown one factor."""

    held: Pending

    async def prepare(self) -> None:
        """Without the cookie of the first factor, begin again."""
        await super().prepare()
        held = pending.read(self)
        if held is None:
            return self.redirect("/auth/login", status=303)
        self.held = held

    @property
    def next(self) -> str | None:
        """Where they wanted to go."""
        return own_path(self.get_argument("next", ""))

    @property
    def user_agent(self) -> str:
        """What the browser calls itself."""
        return self.request.headers.get("User-Agent", "")

    @property
    def remember_days(self) -> float:
        """For how long a device is remembered; 0: never."""
        return self.portal.backends.config.second_factor.remember_days

    async def complete(self, factor: str, **more: object) -> SignedIn:
        """The login session; raise Refusal when it took too long."""
        outcome = await self.portal.logins.complete(
            self.held,
            factor=factor,
            address=self.client_address,
            user_agent=self.user_agent,
            **more,  # type: ignore[arg-type]
        )
        if isinstance(outcome, Rejected):
            words = Explanation("You are not signed in yet", outcome.message, "Go to the sign-in page.")
            raise Refusal(401, words)
        return outcome


@public
class FactorHandler(PendingHandler):
    """Asking for the second factor."""

    async def get(self) -> None:
        """Show what there is."""
        await self._show()

    async def post(self) -> None:
        """Verify a code of the app, or a recovery code."""
        typed = self.get_body_argument("code", "")
        if not typed:
            return await self._show(EMPTY, 401)
        logins = self.portal.logins
        attempt = await logins.factor_attempt(self.held, address=self.client_address)
        if attempt.wait > 0:
            return await self._too_fast(attempt.wait)
        factor = await self.portal.factors.verify_code(self.held.user_id, typed)
        if factor is None:
            kind = factors.TOTP if totp.is_code("".join(typed.split())) else RECOVERY
            await logins.factor_failed(self.held, attempt, factor=kind, address=self.client_address)
            return await self._show(WRONG, 401)
        outcome = await self.complete(factor, remember=Form.sent(self).flag("remember"), attempt=attempt)
        if factor == RECOVERY:
            left = (await self.portal.database.run(factors.overview, outcome.user_id)).codes
            self.notify(
                Phrase(
                    "That recovery code is used up; you have one left. New ones: My account.",
                    "That recovery code is used up; you have %(count)d left. New ones: My account.",
                    count=left,
                )
            )
        outcomes.follow(self, outcome, self.next)

    async def _too_fast(self, wait: float) -> None:
        refused = too_fast(wait)
        self.set_header("Retry-After", f"{refused.retry_after:.0f}")
        await self._show(refused.message, 429)

    async def _show(self, message: str = "", status: int = 200) -> None:
        methods = await self.portal.database.run(factors.enrolled, self.held.user_id)
        question = await self.portal.passkeys.ask(self.held.user_id)
        challenge = challenges.signed(self, question.challenge, self.held.user_id, SIGN_IN) if question else ""
        self.set_status(status)
        self.render(
            "auth/factor.html",
            methods=methods,
            question=question,
            challenge=challenge,
            message=self.translate(message),
            next=self.next,
            remember_days=self.remember_days,
        )


@public
class PasskeyHandler(FactorHandler):
    """The answer of a passkey."""

    async def get(self) -> None:
        """The page is the other one."""
        self.redirect("/auth/factor", status=303)

    async def post(self) -> None:
        """Verify it."""
        logins = self.portal.logins
        attempt = await logins.factor_attempt(self.held, address=self.client_address)
        if attempt.wait > 0:
            return await self._too_fast(attempt.wait)
        try:
            challenge, answer = challenges.answered(self, self.held.user_id, SIGN_IN)
            await self.portal.passkeys.verify(self.held.user_id, challenge, answer)
        except PasskeyRefused as error:
            log.info("passkey of user %s refused: %s [%s]", self.held.user_id, error, self.request_id)
            await logins.factor_failed(self.held, attempt, factor=factors.WEBAUTHN, address=self.client_address)
            return await self._show(NO_PASSKEY, 401)
        remember = Form.sent(self).flag("remember")
        outcomes.follow(self, await self.complete(factors.WEBAUTHN, remember=remember, attempt=attempt), self.next)


class EnrollingHandler(PendingHandler):
    """A page for somebody who needs a second factor and has none."""

    user_row: User

    async def prepare(self) -> None:
        """Find out who it is."""
        await super().prepare()
        if self._finished:
            return
        user = await self.portal.database.run(users.get, self.held.user_id)
        if user is None or not user.active:
            return self.redirect("/auth/login", status=303)
        self.user_row = user

    @property
    def person(self) -> Person:
        """Whose factor is enrolled."""
        return Person(self.user_row.id, self.user_row.username, newcomer=True)

    @property
    def newcomer(self) -> Actor:
        """Who does it, for the audit."""
        return Actor(self.user_row.id, self.user_row.username, self.client_address)

    @property
    def grace(self) -> datetime | None:
        """Until when it may be put off; None if it may not."""
        until = self.user_row.factor_grace_until
        return until if until is not None and utcnow() < until else None

    def ask_for_the_factor(self) -> None:
        """There is one after all."""
        self.redirect("/auth/factor", status=303)

    async def enrolled(self, factor: str, codes: list[str]) -> None:
        """Sign in, and show the recovery codes, once."""
        outcome = await self.complete(factor)
        if not codes:
            return outcomes.follow(self, outcome, self.next)
        outcomes.accept(self, outcome)
        self.render("account/codes.html", codes=codes, onward=self.next or "/")


@public
class EnrolHandler(EnrollingHandler):
    """Enrolling an authenticator app."""

    async def get(self) -> None:
        """Show the picture."""
        await self._show(Form())

    async def post(self) -> None:
        """Confirm with the first code; or put it off while there is grace."""
        form = Form.sent(self)
        if form.flag("later"):
            return outcomes.follow(self, await self.complete(LATER), self.next)
        try:
            codes = await self.portal.factors.confirm_app(
                self.newcomer, self.person, form.text("code"), form.text("name", required=False)
            )
        except Conflict as conflict:
            form.conflict(conflict)
            return await self._show(form)
        except AlreadyEnrolled:
            return self.ask_for_the_factor()
        await self.enrolled(factors.TOTP, codes)

    async def _show(self, form: Form) -> None:
        try:
            secret = await self.portal.factors.begin_app(self.person)
        except AlreadyEnrolled:
            return self.ask_for_the_factor()
        self.set_status(422 if form.errors else 200)
        self.render(
            "auth/enrol.html",
            form=form,
            secret=secret,
            next=self.next,
            grace=self.grace,
            passkeys=self.portal.passkeys.possible,
        )


@public
class EnrolPictureHandler(EnrollingHandler):
    """The QR code."""

    async def get(self) -> None:
        """Answer with the picture."""
        try:
            picture = await self.portal.factors.picture(self.person)
        except AlreadyEnrolled:
            return self.ask_for_the_factor()
        self.set_header("Content-Type", "image/svg+xml")
        self.finish(picture)


@public
class EnrolPasskeyHandler(EnrollingHandler):
    """Enrolling a passkey instead."""

    async def get(self) -> None:
        """Show the page that asks the browser."""
        await self._show()

    async def post(self) -> None:
        """Keep it."""
        try:
            challenge, answer = challenges.answered(self, self.user_row.id, ADD)
            name = self.get_body_argument("name", "")
            codes = await self.portal.passkeys.finish(self.newcomer, self.person, challenge, answer, name)
        except (PasskeyRefused, Conflict) as error:
            log.info("new passkey of user %s refused: %s [%s]", self.user_row.id, error, self.request_id)
            return await self._show(NO_PASSKEY)
        except AlreadyEnrolled:
            return self.ask_for_the_factor()
        await self.enrolled(factors.WEBAUTHN, codes)

    async def _show(self, message: str = "") -> None:
        try:
            question = await self.portal.passkeys.begin(self.person, self.user_row.display_name)
        except AlreadyEnrolled:
            return self.ask_for_the_factor()
        self.set_status(422 if message else 200)
        self.render(
            "account/passkey.html",
            question=question,
            challenge=challenges.signed(self, question.challenge, self.user_row.id, ADD),
            message=self.translate(message),
            action="/auth/enrol/passkey",
            back="/auth/enrol",
            next=self.next,
        )
