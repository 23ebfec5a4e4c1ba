"""A passkey's challenge on its way through the page: signed, for one user and one purpose, for five minutes."""

from __future__ import annotations

import json

from cyberlab.auth.encoding import from_base64url, to_base64url
from cyberlab.auth.passkeys import LIFETIME, LONGEST, PasskeyRefused
from cyberlab.handlers.base import BaseHandler

ADD = "add"
SIGN_IN = "sign-in"
CONFIRM = "confirm"
_NAME = "passkey-challenge"
_DAY = 86_400.0


def signed(handler: BaseHandler, challenge: bytes, user_id: int, purpose: str) -> str:
    """The text for the form's hidden field."""
    value = json.dumps([user_id, purpose, to_base64url(challenge)])
    return handler.create_signed_value(_NAME, value).decode()


def answered(handler: BaseHandler, user_id: int, purpose: str) -> tuple[bytes, str]:
    """The challenge and the answer that came with the form; raise PasskeyRefused."""
    answer = handler.get_body_argument("answer", "", strip=False)
    text = handler.get_body_argument("challenge", "")
    value = handler.get_signed_cookie(_NAME, value=text, max_age_days=LIFETIME / _DAY)
    if value is None:
        raise PasskeyRefused("the challenge is too old, or not ours")
    of, meant, challenge = json.loads(value)
    if (of, meant) != (user_id, purpose):
        raise PasskeyRefused("the challenge was for somebody or something else")
    if not answer or len(answer) > LONGEST:
        raise PasskeyRefused("there is no answer")
    return from_base64url(challenge), answer
