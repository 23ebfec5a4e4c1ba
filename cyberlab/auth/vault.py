"""Secrets that have to be read again (those of authenticator apps), encrypted at rest.

AES-256-GCM; the text says with which key, so that old rows can be read while the keys are being changed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cyberlab.auth.encoding import from_base64url, to_base64url
from cyberlab.settings import Settings

_VERSION = "v1"
_NONCE = 12  # bytes; NIST SP 800-38D, section 8.2.2: random ones are good for 2^32 messages a key
_PURPOSE = b"cyberlab second factors"


class VaultError(Exception):
    """The text cannot be read: another key, another owner, or damaged."""


class Vault:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[str]) -> None:
        """``keys``: secrets of any length, the present one first, former ones behind it."""
        if not keys:
            raise ValueError("a vault needs a key")
        derived = [_derive(key) for key in keys]
        self._keys = {_id(key): AESGCM(key) for key in derived}
        self._present = _id(derived[0])

    @classmethod
    def of(cls, settings: Settings) -> Vault:
        """The vault of FACTOR_KEYS, or of SECRET_KEY where there are none."""
        keys = [key.get_secret_value() for key in settings.factor_keys]
        return cls(keys or [settings.secret_key.get_secret_value()])

    def seal(self, secret: str, owner: str) -> str:
        """Encrypt; only who names the same ``owner`` can read it, so a copy in another user's row is worth nothing."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._keys[self._present].encrypt(nonce, secret.encode(), owner.encode())
        return f"{_VERSION}.{self._present}.{to_base64url(nonce + sealed)}"

    def open(self, text: str, owner: str) -> str:
        """Decrypt; raise VaultError."""
        version, _, rest = text.partition(".")
        key_id, _, body = rest.partition(".")
        key = self._keys.get(key_id)
        if version != _VERSION or key is None:
            raise VaultError(f"it was sealed with the key {key_id[:16]!r}, which FACTOR_KEYS does not name")
        try:
            raw = from_base64url(body)
            return key.decrypt(raw[:_NONCE], raw[_NONCE:], owner.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise VaultError("it is damaged, or somebody else's") from error

    def is_present(self, text: str) -> bool:
        """Whether it was sealed with the present key."""
        return text.startswith(f"{_VERSION}.{self._present}.")


def _derive(key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key.encode())


def _id(derived: bytes) -> str:
    return hashlib.sha256(b"id" + derived).hexdigest()[:12]
