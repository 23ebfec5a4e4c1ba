"""Passwords as bcrypt hashes. Everything here costs a quarter of a second of CPU: never call it on the IOLoop."""

from __future__ import annotations

import re
import unicodedata

import bcrypt

from cyberlab.phrases import Phrase

MAX_BYTES = 72  # bcrypt reads no further (and bcrypt 5 raises)
MIN_LENGTH = 8  # characters; NIST SP 800-63B, section 5.1.1.2
_HASH = re.compile(r"\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")


TOO_LONG = Phrase("a password has at most %(most)d bytes in UTF-8; choose a shorter one", most=MAX_BYTES)


class PasswordTooLong(ValueError):
    """The password is longer than bcrypt can read."""

    def __init__(self) -> None:
        super().__init__(TOO_LONG)


def problem(password: str) -> str | None:
    """Why a new password is refused, in words for the person who chose it; None if it is fine."""
    if len(password) < MIN_LENGTH:
        return Phrase("a password has at least %(least)d characters", least=MIN_LENGTH)
    if too_long(password):
        return TOO_LONG
    return None


def too_long(password: str) -> bool:
    """Whether bcrypt could not read the whole password."""
    return len(_octets(password)) > MAX_BYTES


def hash_password(password: str, cost: int) -> str:
    """Hash with a fresh salt; ``cost`` is the binary logarithm of the rounds. Raise PasswordTooLong."""
    if too_long(password):
        raise PasswordTooLong
    return bcrypt.hashpw(_octets(password), bcrypt.gensalt(cost)).decode("ascii")


def verify(password: str, hashed: str) -> bool:
    """Whether the password is the hashed one; a hash that is none and a password too long are simply not."""
    try:
        return bcrypt.checkpw(_octets(password), hashed.encode())
    except ValueError:
        return False


def cost_of(hashed: str) -> int | None:
    """The cost that a hash was made with; None if it is no bcrypt hash."""
    match = _HASH.fullmatch(hashed)
    return int(match[1]) if match else None


def dummy_hash(cost: int) -> str:
    """A hash in form, of no password at all: verifying against it costs what a real one of that cost does."""
    return f"$2b${cost:02}${'.' * 53}"


def _octets(password: str) -> bytes:
    """NFC, so that a keyboard which sends "é" as two characters types the same password (RFC 8265, section 4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
