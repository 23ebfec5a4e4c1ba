"""How a page goes on after a factor: the cookies of a sign-in, and where the browser is sent next."""

from __future__ import annotations

from urllib.parse import urlencode

from cyberlab.auth.base import NeedsEnrolment, NeedsSecondFactor, SignedIn
from cyberlab.handlers import pending
from cyberlab.handlers.base import LONGEST_TOKEN, BaseHandler

DEVICE = "cyberlab-device"


def follow(handler: BaseHandler, outcome: SignedIn | NeedsSecondFactor | NeedsEnrolment, next_: str | None) -> None:
    """Set the cookies and redirect; ``next_``: a path of ours that was asked for before, see own_path()."""
    if not isinstance(outcome, SignedIn):
        pending.give(handler, outcome.pending)
        page = "/auth/factor" if isinstance(outcome, NeedsSecondFactor) else "/auth/enrol"
        handler.redirect(f"{page}?{urlencode({'next': next_})}" if next_ else page, status=303)
        return
    accept(handler, outcome)
    handler.redirect(next_ or "/", status=303)


def accept(handler: BaseHandler, outcome: SignedIn) -> None:
    """Set the cookies of a sign-in that is complete."""
    flags = handler.cookie_flags()
    # A session cookie: on a lab PC it goes when the browser is closed.
    handler.set_cookie(handler.cookie_name("cyberlab"), outcome.token, **flags)
    if outcome.device:
        days = handler.portal.backends.config.second_factor.remember_days
        handler.set_cookie(handler.cookie_name(DEVICE), outcome.device, expires_days=days, **flags)
    if handler.get_cookie(handler.cookie_name(pending.COOKIE)) is not None:
        pending.forget(handler)


def device(handler: BaseHandler) -> str:
    """The token of a remembered device, as the browser sent it; empty without."""
    token = handler.get_cookie(handler.cookie_name(DEVICE)) or ""
    return token if len(token) <= LONGEST_TOKEN else ""
