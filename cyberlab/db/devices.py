"""Queries about remembered devices: the cookie holds a random token, the row only its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.models import RememberedDevice, utcnow
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean


def create(s: Session, user_id: int, *, name: str, lifetime: float) -> str:
    """Remember a browser for ``lifetime`` seconds; return the token for its cookie."""
    token = secrets.token_urlsafe(32)
    expires = utcnow() + timedelta(seconds=lifetime)
    row = RememberedDevice(user_id=user_id, token_hash=_hash(token), name=clean(name, 255), expires_at=expires)
    s.add(row)
    return token


def use(s: Session, user_id: int, token: str, now: datetime) -> bool:
    """Whether that token remembers a device of that user, in force now; notes the use."""
    used = s.execute(
        sql_update(RememberedDevice)
        .where(
            RememberedDevice.user_id == user_id,
            RememberedDevice.token_hash == _hash(token),
            RememberedDevice.expires_at > now,
        )
        .values(last_used_at=now)
        .returning(RememberedDevice.id)
    )
    return used.first() is not None


@reads
def of_user(s: Session, user_id: int, now: datetime) -> Sequence[RememberedDevice]:
    """Those in force, newest first."""
    rows = select(RememberedDevice).where(RememberedDevice.user_id == user_id, RememberedDevice.expires_at > now)
    return s.scalars(rows.order_by(RememberedDevice.id.desc())).all()


def revoke(s: Session, actor: Actor, user_id: int, device_id: int) -> bool:
    """Forget one of a user's devices; False: it was forgotten already."""
    gone = s.execute(
        sql_delete(RememberedDevice)
        .where(RememberedDevice.id == device_id, RememberedDevice.user_id == user_id)
        .returning(RememberedDevice.id)
    ).first()
    if gone is not None:
        audit.record(s, actor, "device.forget")
    return gone is not None


def revoke_all(s: Session, user_id: int) -> int:
    """Forget all of a user's devices; return how many there were."""
    gone = s.execute(
        sql_delete(RememberedDevice).where(RememberedDevice.user_id == user_id).returning(RememberedDevice.id)
    )
    return len(gone.all())


def purge(s: Session, now: datetime) -> None:
    """Delete those whose time is up."""
    s.execute(sql_delete(RememberedDevice).where(RememberedDevice.expires_at < now))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
