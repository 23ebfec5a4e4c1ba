"""My second factors: apps and recovery codes."""

from __future__ import annotations

import logging

from cyberlab.auth.config import Policy
from cyberlab.auth.factors import Person
from cyberlab.auth.passkeys import PasskeyRefused
from cyberlab.db import factors
from cyberlab.db.errors import Conflict
from cyberlab.handlers import challenges
from cyberlab.handlers.account.base import HERE, ConfirmedPage
from cyberlab.handlers.base import signed_in
from cyberlab.handlers.explanations import Explanation, Refusal
from cyberlab.handlers.forms import Form, sentence
from cyberlab.phrases import Phrase

log = logging.getLogger(__name__)

SWITCHED_OFF = Explanation(
    "Second factors are switched off",
    "Those who run this portal do not use them for your role.",
    "There is nothing to do.",
)
LAST = Phrase("Your role needs a second factor, and this is the only one. Add another one first.")


class FactorPage(ConfirmedPage):
    """A page about the second factors of who is signed in."""

    def check(self) -> None:
        """Where the policy is "off", nobody adds what would never be asked for."""
        if self.policy == Policy.OFF:
            raise Refusal(403, SWITCHED_OFF)

    @property
    def person(self) -> Person:
        """Whose they are."""
        return Person(self.user.user_id, self.user.username)

    def added(self, codes: list[str], notice: str) -> None:
        """Show fresh recovery codes, once, or go back."""
        if not codes:
            return self.done(notice)
        self.render("account/codes.html", codes=codes, onward="/account")

    async def may_remove(self) -> bool:
        """Whether the policy leaves something to sign in with."""
        held = await self.portal.database.run(factors.overview, self.user.user_id)
        return self.policy != Policy.REQUIRED or len(held.apps) + len(held.passkeys) > 1


@signed_in
class AppHandler(FactorPage):
    """Adding an authenticator app."""

    async def get(self) -> None:
        """Show the picture."""
        await self._show(Form())

    async def post(self) -> None:
        """Confirm with the first code."""
        form = Form.sent(self)
        code, name = form.text("code"), form.text("name", required=False, longest=factors.NAME_LIMIT)
        if not form.errors:
            try:
                codes = await self.portal.factors.confirm_app(self.actor, self.person, code, name)
                return self.added(codes, "The app was added.")
            except Conflict as conflict:
                form.conflict(conflict)
        await self._show(form)

    async def _show(self, form: Form) -> None:
        secret = await self.portal.factors.begin_app(self.person)
        self.set_status(422 if form.errors else 200)
        self.render("account/totp.html", form=form, secret=secret)


@signed_in
class PictureHandler(FactorPage):
    """The QR code of the app that is being added."""

    part_of_a_page = True

    @property
    def page(self) -> str:
        """The one that shows it."""
        return f"{HERE}/totp"

    async def get(self) -> None:
        """Answer with the picture."""
        self.set_header("Content-Type", "image/svg+xml")
        self.finish(await self.portal.factors.picture(self.person))


@signed_in
class RemoveAppHandler(FactorPage):
    """Removing an app, after a question."""

    def get(self, device_id: str) -> None:
        """Ask."""
        self._ask()

    async def post(self, device_id: str) -> None:
        """Remove it."""
        if not await self.may_remove():
            return self._ask(422, LAST)
        await self.portal.database.run(factors.remove_app, self.actor, self.user.user_id, int(device_id))
        self.done("The app was removed.")

    def _ask(self, status: int = 200, problem: str = "") -> None:
        self.confirm(
            title="Remove the app?",
            text="Its codes are not accepted any more. Delete the entry in the app as well.",
            button="Remove the app",
            status=status,
            problem=problem,
        )


@signed_in
class PasskeyHandler(FactorPage):
    """Adding a passkey."""

    async def get(self) -> None:
        """Show the page that asks the browser."""
        await self._show()

    async def post(self) -> None:
        """Keep it."""
        try:
            challenge, answer = challenges.answered(self, self.user.user_id, challenges.ADD)
            name = self.get_body_argument("name", "")
            codes = await self.portal.passkeys.finish(self.actor, self.person, challenge, answer, name)
        except PasskeyRefused as error:
            log.info("new passkey of %s refused: %s [%s]", self.user.username, error, self.request_id)
            return await self._show(Phrase("The passkey was not accepted. Try again."))
        except Conflict as conflict:
            return await self._show(sentence(self.translate(conflict.message)))
        self.added(codes, "The passkey was added.")

    async def _show(self, message: str = "") -> None:
        question = await self.portal.passkeys.begin(self.person, self.user.display_name)
        self.set_status(422 if message else 200)
        self.render(
            "account/passkey.html",
            question=question,
            challenge=challenges.signed(self, question.challenge, self.user.user_id, challenges.ADD),
            message=self.translate(message),
            action="/account/passkeys",
            back="/account",
            next="",
        )


@signed_in
class RemovePasskeyHandler(FactorPage):
    """Removing a passkey, after a question."""

    def get(self, passkey_id: str) -> None:
        """Ask."""
        self._ask()

    async def post(self, passkey_id: str) -> None:
        """Remove it."""
        if not await self.may_remove():
            return self._ask(422, LAST)
        await self.portal.database.run(factors.remove_passkey, self.actor, self.user.user_id, int(passkey_id))
        self.done("The passkey was removed.")

    def _ask(self, status: int = 200, problem: str = "") -> None:
        self.confirm(
            title="Remove the passkey?",
            text="It is not accepted any more. Delete it on the device as well.",
            button="Remove the passkey",
            status=status,
            problem=problem,
        )


@signed_in
class RecoveryHandler(FactorPage):
    """New recovery codes."""

    def get(self) -> None:
        """Ask."""
        self.confirm(
            title="Make new recovery codes?",
            text="You get ten new ones, shown once. Those that you have now are not accepted any more.",
            button="Make new codes",
        )

    async def post(self) -> None:
        """Make them and show them."""
        if not await self.portal.database.run(factors.enrolled, self.user.user_id):
            return self.done("Recovery codes stand in for a second factor. Add one first.")
        self.added(await self.portal.factors.new_codes(self.actor, self.user.user_id), "")
