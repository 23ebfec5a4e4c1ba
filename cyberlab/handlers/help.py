"""What to do about a failure, from the catalogue of problems; a link to it works without internet."""

from __future__ import annotations

from collections.abc import Iterator

from cyberlab.db.models import Role
from cyberlab.handlers.base import BaseHandler, signed_in
from cyberlab.handlers.explanations import NO_SUCH_PAGE, Refusal
from cyberlab.handlers.machines import LATER
from cyberlab.problems import ASK_ADMIN, CATALOGUE


@signed_in
class HelpHandler(BaseHandler):
    """`/help/<code>`: for everybody what they can do; for teachers and admins cause and mend as well."""

    async def get(self, code: str) -> None:
        """Raises Refusal 404 for a code that is none."""
        advice = CATALOGUE.get(code)
        if advice is None:
            raise Refusal(404, NO_SUCH_PAGE)
        user = LATER if advice.user == ASK_ADMIN else advice.user  # there is no request id on this page
        looks_after = self.user.role in (Role.TEACHER, Role.ADMIN)
        self.render(
            "help.html",
            known_as=code,
            title=self.translate(advice.title),
            advice=self.translate(user),
            cause=list(pieces(self.translate(advice.cause))) if looks_after else [],
            mend=list(pieces(self.translate(advice.mend))) if looks_after and advice.mend else [],
        )


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in turn with what stands between backticks: commands, True."""
    for number, piece in enumerate(text.split("`")):
        if piece:
            yield piece, number % 2 == 1
