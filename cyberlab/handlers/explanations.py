"""What an error page says: what happened, what it means, what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tornado.web import HTTPError

from cyberlab.blocking import PoolBusy
from cyberlab.db.errors import DatabaseUnavailable, NotFound
from cyberlab.problems import ASK_ADMIN, CATALOGUE, INTERNAL, Problem


@dataclass(frozen=True, slots=True)
class Explanation:
    """The words of one error page."""

    title: str
    meaning: str
    advice: str
    code: str = ""  # of the problem behind it, for a link to its help

    def translated(self, translate: Callable[[str], str]) -> Explanation:
        """The same in another language."""
        return Explanation(translate(self.title), translate(self.meaning), translate(self.advice), self.code)


class Refusal(HTTPError):
    """A refusal with words of its own; ``detail`` is for the log line alone."""

    def __init__(self, status: int, explanation: Explanation, detail: str = "") -> None:
        super().__init__(status, detail or explanation.title)
        self.explanation = explanation


SIGN_IN = Explanation("Please sign in", "This page is for people with an account here.", "Sign in and try again.")
NOT_YOURS = Explanation(
    "This page is not for your account",
    "You are signed in, but your role does not reach this page.",
    "Go back to your own pages, or ask your lab's admin for the right.",
)
NO_SUCH_MACHINE = Explanation(
    "There is no such machine",
    "It was removed from the portal, or the address is mistyped.",
    "Go back to your machines and open it from there.",
)
NOT_YOUR_MACHINE = Explanation(
    "This machine is not assigned to you",
    "You cannot open it: it was given to somebody else, or your time with it is over.",
    "Ask your teacher if you need it.",
)
NO_SUCH_CLASS = Explanation(
    "There is no such class",
    "It was removed from the portal, or the address is mistyped.",
    "Go back to your classes and open it from there.",
)
NOT_YOUR_CLASS = Explanation(
    "This is not a class of yours",
    "You do not teach it, or it was archived at the end of the term.",
    "Ask your lab's admin if you should.",
)
GONE = Explanation(
    "This no longer exists",
    "Somebody removed it in the meantime, or the address is mistyped. Nothing was changed.",
    "Go back to the list to see what is there now.",
)
FORM_EXPIRED = Explanation(
    "This form has expired",
    "It was open for a long time, or your browser does not keep cookies. Nothing was changed.",
    "Go back, reload the page and send it again.",
)
BUSY = Explanation(
    "The portal is very busy",
    "Your request waited too long and was given up. Nothing is lost.",
    "Wait a few seconds and reload the page.",
)
NO_SUCH_PAGE = Explanation(
    "There is no such page",
    "The address is mistyped, or what it pointed to was removed.",
    "Go to the start page and find your way from there.",
)
NO_DATABASE = Explanation("The portal cannot reach its database", "Nothing works without it for now.", ASK_ADMIN)
FOREIGN_PAGE = Explanation(
    "This console was asked for by another site",
    "A page that is not the portal's tried to open a machine in your name. Nothing was opened.",
    "Open the portal itself, at its own address. Admins: PUBLIC_URL must be the address in the browser.",
)
NO_CLUSTER = Explanation(
    "This machine's cluster is not set up",
    "The portal knows the machine, but not how to reach its cluster.",
    ASK_ADMIN,
)
RESTARTING = Explanation("The portal is restarting", "No console can be opened for a moment.", "Try again shortly.")

_BY_STATUS = {
    400: Explanation(
        "The request could not be understood",
        "Part of the address or of the form is not what this page expects.",
        "Go back, reload the page and try again.",
    ),
    401: SIGN_IN,
    403: Explanation(
        "This is not allowed",
        "The request was refused: it came from another site, or it is not yours to make.",
        "Open the portal in a new tab and try again from there.",
    ),
    404: NO_SUCH_PAGE,
    405: Explanation(
        "This page cannot be used that way",
        "The browser asked in a way that this address does not answer.",
        "Go to the start page and find your way from there.",
    ),
    503: BUSY,
}
UNAVAILABLE = (Problem, PoolBusy, DatabaseUnavailable, TimeoutError)
_INTERNAL = Explanation(CATALOGUE[INTERNAL].title, "Your request was not carried out.", ASK_ADMIN, INTERNAL)


def status_of(error: BaseException | None, otherwise: int) -> int:
    """The HTTP status for an error that escaped a handler."""
    if isinstance(error, HTTPError):
        return error.status_code
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, UNAVAILABLE):
        return 503
    return otherwise


def explain(status: int, error: BaseException | None) -> Explanation:
    """The words for an error page; never taken from an exception's own text."""
    if isinstance(error, Refusal):
        return error.explanation
    if isinstance(error, NotFound):
        return GONE
    if isinstance(error, DatabaseUnavailable):
        return NO_DATABASE
    if isinstance(error, Problem):
        return Explanation(error.advice.title, "Your request was not carried out.", error.advice.user, error.code)
    return _BY_STATUS.get(status, _INTERNAL if status >= 500 else _BY_STATUS[400])
