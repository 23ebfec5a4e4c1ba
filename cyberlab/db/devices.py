"""Queries about remembered devices: the cookie holds a random token, the row only its SHA-256."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session


def create(s: Session, user_id: int, *, name: str, lifetime: float) -> str:
    """Remember a browser for ``lifetime`` seconds; return the token for its cookie."""
    return ""


def use(s: Session, user_id: int, token: str, now: datetime) -> bool:
    """Whether that token remembers a device of that user, in force now; notes the use."""
    return False
