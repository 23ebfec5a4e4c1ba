"""Queries about personal tokens of the REST API: the script holds a random text, the row only its SHA-256."""

from __future__ import annotations

import enum
import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict
from cyberlab.db.logins import Login
from cyberlab.db.models import ApiToken, User
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean
from cyberlab.phrases import Phrase

PREFIX = "cyberlab_"  # lets scanners of repositories and logs recognise a token that was lost
LENGTH = len(PREFIX) + 43
MOST = 20  # tokens a user
TOUCH_EVERY = timedelta(minutes=1)


class Scope(enum.StrEnum):
    """What a token may be used for; never more than its user may do."""

    READ = "read"
    WRITE = "write"
    POWER = "power"


def create(
    s: Session, actor: Actor, user_id: int, *, name: str, scopes: Collection[Scope], expires_at: datetime | None
) -> tuple[ApiToken, str]:
    """Make a token; return its row and its text, which is kept nowhere. Raises Conflict."""
    name = clean(name, 64)
    if not name:
        raise Conflict("name", Phrase("a token needs a name, so that you know later what it is for"))
    if not scopes:
        raise Conflict("scopes", Phrase("please choose at least one"))
    if len(of_user(s, user_id)) >= MOST:
        told = Phrase("you have %(most)d tokens already; remove one that you no longer use", most=MOST)
        raise Conflict("name", told)
    text = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(
        user_id=user_id, name=name, token_hash=_hash(text), scopes=" ".join(sorted(scopes)), expires_at=expires_at
    )
    s.add(row)
    s.flush()
    audit.record(s, actor, "token.create", f"token {name}", row.scopes)
    return row, text


@reads
def find(s: Session, text: str, now: datetime) -> tuple[Login, frozenset[Scope]] | None:
    """Who a token speaks for, and its scopes; None if removed or expired, or its user is inactive."""
    if len(text) != LENGTH or not text.startswith(PREFIX):
        return None
    rows = select(ApiToken, User).join(User, User.id == ApiToken.user_id).where(ApiToken.token_hash == _hash(text))
    found = s.execute(rows.where(User.active, _unexpired(now))).first()
    if found is None:
        return None
    token, user = found
    login = Login(
        session_id=0,
        user_id=user.id,
        username=user.username,
        display_name=user.display_name,
        role=user.role,
        created_at=token.created_at,
        expires_at=token.expires_at or now + timedelta(days=1),
        seen_at=token.last_used_at or now - TOUCH_EVERY,
        token_id=token.id,
    )
    return login, frozenset(Scope(word) for word in token.scopes.split())


@reads
def is_valid(s: Session, token_id: int, now: datetime) -> bool:
    """Whether a token that was found before has neither been removed nor expired since."""
    return s.scalar(select(ApiToken.id).where(ApiToken.id == token_id, _unexpired(now))) is not None


def touch(s: Session, text: str, now: datetime) -> None:
    """Note that a token is in use, at most once a minute."""
    s.execute(
        sql_update(ApiToken)
        .where(
            ApiToken.token_hash == _hash(text),
            or_(ApiToken.last_used_at.is_(None), ApiToken.last_used_at < now - TOUCH_EVERY),
        )
        .values(last_used_at=now)
        .execution_options(synchronize_session=False)
    )


@reads
def of_user(s: Session, user_id: int) -> Sequence[ApiToken]:
    """A user's tokens, the newest first."""
    return s.scalars(select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.id.desc())).all()


def remove(s: Session, actor: Actor, user_id: int, token_id: int) -> bool:
    """Remove one of a user's own tokens; whether there was one."""
    gone = sql_delete(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id).returning(ApiToken.name)
    name = s.scalar(gone)
    if name is not None:
        audit.record(s, actor, "token.remove", f"token {name}")
    return name is not None


def _unexpired(now: datetime) -> ColumnElement[bool]:
    return or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
