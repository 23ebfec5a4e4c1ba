"""Codes of an authenticator app (RFC 6238), and the picture it is set up with."""

from __future__ import annotations

import hmac
import io
import re

import pyotp
import segno

STEP = 30  # seconds; RFC 6238, section 4.1
DIGITS = 6
DRIFT = 1  # steps to either side; RFC 6238, section 5.2
_CODE = re.compile(rf"[0-9]{{{DIGITS}}}")


def new_secret() -> str:
    """160 random bits in base32 (RFC 4226, section 4: R6)."""
    return pyotp.random_base32()


def is_code(text: str) -> bool:
    """Whether it looks like a code."""
    return _CODE.fullmatch(text) is not None


def matching_step(secret: str, code: str, now: float, last_step: int | None) -> int | None:
    """The time step whose code that is; None for a wrong one and for a step not later than ``last_step``.

    ``now``: seconds since the epoch. A code is good once (RFC 6238, section 5.2).
    """
    if not is_code(code):
        return None
    generator = pyotp.TOTP(secret, digits=DIGITS, interval=STEP)
    present = int(now // STEP)
    found = None
    for step in range(present - DRIFT, present + DRIFT + 1):
        right = hmac.compare_digest(generator.generate_otp(step), code)
        if right and (last_step is None or step > last_step):
            found = step
    return found


def address(secret: str, username: str, issuer: str) -> str:
    """What the app reads from the picture: an ``otpauth:`` address."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP).provisioning_uri(name=username, issuer_name=issuer)


def picture(address: str) -> bytes:
    """The address as a QR code, SVG; black on white with its quiet zone, also on a dark page (some 20 ms)."""
    out = io.BytesIO()
    code = segno.make(address, error="m", micro=False)
    code.save(out, kind="svg", scale=5, border=4, dark="#000", light="#fff", xmldecl=False, omitsize=False)
    return out.getvalue()
