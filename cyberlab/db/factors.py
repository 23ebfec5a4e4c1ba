"""Queries about second factors."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cyberlab.db.audit import Actor
from cyberlab.db.read_only import reads


@reads
def enrolled(s: Session, user_id: int) -> frozenset[str]:
    """The kinds of second factor which that user has confirmed: "totp", "webauthn"."""
    return frozenset()


def reset(s: Session, actor: Actor, user_id: int) -> bool:
    """Take away all of a user's second factors, recovery codes and remembered devices; False: there were none.

    Raises NotFound.
    """
    return False
