"""Proxmox's signed tickets: auth cookies and VNC tickets.

Format and ages as in libpve-access-control (PVE/Ticket.pm, PVE/AccessControl.pm): ``PREFIX:HEXTIME::signature``, where
the signature covers the prefix, the time and a secret part that the ticket itself does not show.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

COOKIE_LIFETIME = 2 * 3600
COOKIE_SKEW = -300
VNC_LIFETIME = 40
VNC_SKEW = -20
_COOKIE = re.compile(r"PVE:(?P<plain>[^:\s]+@[^:\s]+):(?P<time>[0-9A-F]{8})::(?P<signature>\S+)")
_VNC = re.compile(r"(?:.{8}:)?PVEVNC:(?P<time>[0-9A-F]{8})::(?P<signature>\S+)")


def new_key() -> rsa.RSAPrivateKey:
    """A key as /etc/pve/priv/authkey.key: RSA, 2048 bits."""
    return rsa.generate_private_key(65_537, 2048)


def vnc_password() -> str:
    """Eight characters from ``!`` to `````, hostile to URLs and shells (PVE/Ticket.pm generate_vnc_password)."""
    return "".join(chr(0x21 + secrets.randbelow(0x40)) for _ in range(8))


class KeyRing:
    """The keys that all nodes of a cluster share (/etc/pve/priv/authkey.key, authkey.pub.old, pve-www.key)."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self.current = key
        self.previous: rsa.RSAPrivateKey | None = None
        self.csrf = secrets.token_bytes(32)


class Tickets:
    """Signs and checks with the current key; cookies also hold when signed with the one before (rotation: 24 h)."""

    def __init__(self, ring: KeyRing, clock: Callable[[], float] = time.time) -> None:
        """``clock``: of the node that signs and checks, seconds since the epoch."""
        self._ring = ring
        self.clock = clock

    def rotate(self, key: rsa.RSAPrivateKey | None = None) -> None:
        """Replace the key, for all nodes: cookies live on, VNC tickets die at once."""
        self._ring.previous, self._ring.current = self._ring.current, key or new_key()

    def cookie(self, user: str) -> str:
        """An auth cookie for any user, as AccessControl.pm assemble_ticket."""
        plain = f"PVE:{user}:{int(self.clock()):08X}"
        return f"{plain}::{_sign(self._ring.current, plain)}"

    def cookie_user(self, cookie: str) -> str | None:
        """Whose cookie it is, or None when it is malformed, forged, older than 2 h or from the future."""
        match = _COOKIE.fullmatch(cookie)
        if match is None:
            return None
        signed = cookie.partition("::")[0]
        keys = [key for key in (self._ring.current, self._ring.previous) if key is not None]
        if not any(_verify(key, signed, match["signature"]) for key in keys):
            return None
        age = self.clock() - int(match["time"], 16)
        return match["plain"] if COOKIE_SKEW < age < COOKIE_LIFETIME else None

    def challenge(self, user: str) -> str:
        """What a sign-in by password gives a user with a second factor: proof of the first, and no cookie."""
        plain = f"PVE:!tfa!{user}:{int(self.clock()):08X}"
        return f"{plain}::{_sign(self._ring.current, plain)}"

    def challenged(self, challenge: str, user: str) -> bool:
        """Whether that challenge was given to this user and still holds."""
        return challenge.startswith("PVE:!tfa!") and self.cookie_user(challenge) == f"!tfa!{user}"

    def csrf(self, user: str) -> str:
        """The token that goes with a cookie in requests that change something (assemble_csrf_prevention_token)."""
        return self._csrf(user, f"{int(self.clock()):08X}")

    def csrf_holds(self, token: str, user: str) -> bool:
        """Whether this token was made for that user in the last two hours."""
        stamp = token.partition(":")[0]
        if not re.fullmatch("[0-9A-F]{8}", stamp) or not hmac.compare_digest(
            token.encode(), self._csrf(user, stamp).encode()
        ):
            return False
        return COOKIE_SKEW < self.clock() - int(stamp, 16) < COOKIE_LIFETIME

    def _csrf(self, user: str, stamp: str) -> str:
        digest = hmac.digest(self._ring.csrf, f"{stamp}:{user}".encode(), "sha256")
        return f"{stamp}:{base64.b64encode(digest).decode().rstrip('=')}"

    def vnc_ticket(self, user: str, path: str, port: int | None) -> str:
        """A VNC ticket for ``path`` (/vms/100); ``port`` None is the form from before April 2026."""
        plain = f"PVEVNC:{int(self.clock()):08X}"
        return f"{plain}::{_sign(self._ring.current, _vnc_secret(plain, user, path, port))}"

    def vnc_holds(self, ticket: str, user: str, path: str, port: int | None) -> bool:
        """Whether this ticket was made for that user, path and port, in the last 40 s, with the current key."""
        match = _VNC.fullmatch(ticket)
        if match is None:
            return False
        signed = _vnc_secret(f"PVEVNC:{match['time']}", user, path, port)
        age = self.clock() - int(match["time"], 16)
        return _verify(self._ring.current, signed, match["signature"]) and VNC_SKEW < age < VNC_LIFETIME


def _vnc_secret(plain: str, user: str, path: str, port: int | None) -> str:
    return f"{plain}:{user}:{path}" if port is None else f"{plain}:{user}:{path}:{port}"


def _sign(key: rsa.RSAPrivateKey, text: str) -> str:
    return base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def _verify(key: rsa.RSAPrivateKey, text: str, signature: str) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        key.public_key().verify(raw, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True
