"""The cookie between two factors: signed, for five minutes, and no login session."""

from __future__ import annotations

import json

from cyberlab.auth.base import Pending
from cyberlab.handlers.base import BaseHandler

COOKIE = "cyberlab-pending"
LIFETIME = 300.0  # seconds
_DAY = 86_400.0


def give(handler: BaseHandler, pending: Pending) -> None:
    """Set the cookie."""
    value = json.dumps([pending.user_id, pending.backend, pending.issued, pending.nonce])
    handler.set_signed_cookie(handler.cookie_name(COOKIE), value, expires_days=None, **handler.cookie_flags())


def read(handler: BaseHandler) -> Pending | None:
    """What the cookie carries; None if there is none, it is not ours, or its time is up."""
    value = handler.get_signed_cookie(handler.cookie_name(COOKIE), max_age_days=LIFETIME / _DAY)
    if value is None:
        return None
    user_id, backend, issued, nonce = json.loads(value)
    return Pending(user_id, backend, issued, nonce)


def forget(handler: BaseHandler) -> None:
    """Take the cookie back, once the sign-in is complete or given up."""
    handler.clear_cookie(handler.cookie_name(COOKIE), **handler.cookie_flags())
