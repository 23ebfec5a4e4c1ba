"""Whether somebody has shown lately that it is them: by signing in, or by their password once more.

What changes how one signs in takes that: a page that was left open in a lab must not be enough.
"""

from __future__ import annotations

from cyberlab.db.models import utcnow
from cyberlab.handlers.base import BaseHandler

COOKIE = "cyberlab-recent"
BEGIN = 300.0  # seconds in which such a page may be opened
FINISH = 900.0  # seconds in which its form may be sent: nobody shall lose what they have just typed
_DAY = 86_400.0


def is_recent(handler: BaseHandler, seconds: float) -> bool:
    """Whether the sign-in, or its confirmation, is at most ``seconds`` old."""
    if (utcnow() - handler.user.created_at).total_seconds() <= seconds:
        return True
    value = handler.get_signed_cookie(handler.cookie_name(COOKIE), max_age_days=seconds / _DAY)
    return value == _value(handler)


def confirm(handler: BaseHandler) -> None:
    """Note it; the cookie is good for this login session alone."""
    name = handler.cookie_name(COOKIE)
    handler.set_signed_cookie(name, _value(handler), expires_days=None, **handler.cookie_flags())


def _value(handler: BaseHandler) -> bytes:
    return str(handler.user.session_id).encode()
