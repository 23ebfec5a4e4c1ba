"""What to do about a failure, from the catalogue of problems; a link to it works without internet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cyberlab.db.models import Role
from cyberlab.handlers.base import BaseHandler, signed_in
from cyberlab.handlers.explanations import NO_SUCH_PAGE, Refusal
from cyberlab.handlers.machines import LATER
from cyberlab.phrases import Phrase
from cyberlab.problems import (
    ASK_ADMIN,
    CATALOGUE,
    COOKIE_REFUSED,
    NODE_OFFLINE,
    SIGN_IN_UNREACHABLE,
    SIGNED_OUT,
    TOO_MANY_CONSOLES,
    VM_STOPPED,
    Advice,
)

# What the failures are about, in the catalogue's order: each from that code on.
TOPICS = {
    VM_STOPPED: Phrase("The machine"),
    NODE_OFFLINE: Phrase("The lab's cluster"),
    COOKIE_REFUSED: Phrase("Opening a console"),
    SIGN_IN_UNREACHABLE: Phrase("Signing in"),
    SIGNED_OUT: Phrase("Why an open console ended"),
    TOO_MANY_CONSOLES: Phrase("The portal"),
}
FOR_ADMINS = Phrase("Where your lab's admin is needed")


@dataclass(frozen=True, slots=True)
class Topic:
    """Failures of one kind; ``advice``: what to do about each of them, where that is the same."""

    title: str
    codes: list[str]
    advice: str = ""


def topics(*, looks_after: bool) -> list[Topic]:
    """The catalogue for somebody; students have in one place what only an admin can mend, whatever it is about."""
    found: list[Topic] = []
    for code in CATALOGUE:
        if code in TOPICS:
            found.append(Topic(TOPICS[code], []))
        found[-1].codes.append(code)
    if looks_after:
        return found
    mine = [Topic(each.title, [code for code in each.codes if not _admins_alone(code)]) for each in found]
    return [*mine, Topic(FOR_ADMINS, [code for code in CATALOGUE if _admins_alone(code)], LATER)]


def _admins_alone(code: str) -> bool:
    return CATALOGUE[code].user == ASK_ADMIN


def what_to_do(advice: Advice) -> str:
    """What the user can do, where no request id is to be seen."""
    return LATER if advice.user == ASK_ADMIN else advice.user


class HelpPage(BaseHandler):
    """A page of help."""

    @property
    def looks_after(self) -> bool:
        """Whether cause and mend are for them."""
        return self.user.role in (Role.TEACHER, Role.ADMIN)


@signed_in
class HelpListHandler(HelpPage):
    """`/help`: all that can go wrong, and what to do about it; where something has, its page is linked directly."""

    async def get(self) -> None:
        """Show the catalogue."""
        self.render(
            "helps.html",
            topics=topics(looks_after=self.looks_after),
            catalogue=CATALOGUE,
            what_to_do=what_to_do,
            looks_after=self.looks_after,
        )


@signed_in
class HelpHandler(HelpPage):
    """`/help/<code>`: for everybody what they can do; for teachers and admins cause and mend as well."""

    async def get(self, code: str) -> None:
        """Raises Refusal 404 for a code that is none."""
        advice = CATALOGUE.get(code)
        if advice is None:
            raise Refusal(404, NO_SUCH_PAGE)
        self.render(
            "help.html",
            known_as=code,
            title=self.translate(advice.title),
            advice=self.translate(what_to_do(advice)),
            cause=list(pieces(self.translate(advice.cause))) if self.looks_after else [],
            mend=list(pieces(self.translate(advice.mend))) if self.looks_after and advice.mend else [],
        )


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in turn with what stands between backticks: commands, True."""
    for number, piece in enumerate(text.split("`")):
        if piece:
            yield piece, number % 2 == 1
