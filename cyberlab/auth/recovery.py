"""Recovery codes: ten, each good once, for the day the phone is gone."""

from __future__ import annotations

import hashlib
import secrets

COUNT = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else
_LENGTH = 16  # characters: 79 bits, so that a plain hash of them cannot be turned round
_GROUP = 4


def new_codes() -> list[str]:
    """Ten fresh ones, as they are shown: ``abcd-efgh-jkmn-pqrs``."""
    return [_grouped("".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))) for _ in range(COUNT)]


def hashed(code: str, user_id: int) -> str:
    """What is kept of a code, however it was typed: hex SHA-256, another for each user."""
    plain = "".join(character for character in code.lower() if character.isalnum())
    return hashlib.sha256(f"cyberlab-recovery:{user_id}:{plain}".encode()).hexdigest()


def _grouped(code: str) -> str:
    return "-".join(code[start : start + _GROUP] for start in range(0, _LENGTH, _GROUP))
