"""base64url without padding (RFC 4648, section 5), as WebAuthn and the vault write bytes."""

from __future__ import annotations

import base64
import binascii


def to_base64url(octets: bytes) -> str:
    """Write bytes as text."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Read it back; raise ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("no base64url") from error
