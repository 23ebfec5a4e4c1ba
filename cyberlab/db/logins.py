"""Queries about login sessions: the cookie holds a random token, the row only its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session, contains_eager

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.models import LoginSession, Role, User, utcnow
from cyberlab.db.page import Page, paged
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean, search_words

TOUCH_EVERY = timedelta(minutes=1)  # seen_at is exact to this, so that not every page is a write
KEEP_EXPIRED = timedelta(days=1)  # lets an open console say "expired" rather than "signed out"


@dataclass(frozen=True, slots=True)
class Login:
    """A login session in force, with what the pages need of its user."""

    session_id: int
    user_id: int
    username: str
    display_name: str
    role: Role
    expires_at: datetime
    seen_at: datetime
    created_at: datetime
    language: str = ""  # "": as the browser asks
    time_zone: str = ""  # "": the browser's
    token_id: int = 0  # of the API's token that stands in for it


def create(s: Session, user_id: int, *, address: str, user_agent: str, lifetime: float) -> str:
    """Begin a login session of at most ``lifetime`` seconds; return the token for the cookie."""
    token = secrets.token_urlsafe(32)
    now = utcnow()
    s.add(
        LoginSession(
            user_id=user_id,
            token_hash=_hash(token),
            created_at=now,
            seen_at=now,
            expires_at=now + timedelta(seconds=lifetime),
            address=clean(address, 45),
            user_agent=clean(user_agent, 255),
        )
    )
    return token


@reads
def find(s: Session, token: str, now: datetime, idle: float) -> Login | None:
    """The login session of a token; None if revoked, expired, unused for ``idle`` seconds, or the user is inactive."""
    asked = {"token_hash": _hash(token), "now": now, "seen_after": now - timedelta(seconds=idle)}
    found: Sequence[Any] | None = s.execute(_FIND, asked).one_or_none()
    return None if found is None else Login(*found)


def touch(s: Session, session_ids: Collection[int], now: datetime) -> None:
    """Note that login sessions are in use; a row gone meanwhile stays gone."""
    s.execute(
        sql_update(LoginSession)
        .where(LoginSession.id.in_(session_ids), LoginSession.seen_at < now)
        .values(seen_at=now)
        .execution_options(access_epoch=False, synchronize_session=False)
    )


def needs_touch(login: Login, now: datetime) -> bool:
    """Whether the use that find() has just seen is to be noted."""
    return now - login.seen_at >= TOUCH_EVERY


def resolve(s: Session, token: str, now: datetime, idle: float) -> Login | None:
    """find(), and touch() at most once a minute."""
    login = find(s, token, now, idle)
    if login is not None and needs_touch(login, now):
        touch(s, [login.session_id], now)
    return login


@reads
def of_user(s: Session, user_id: int, now: datetime, idle: float) -> Sequence[LoginSession]:
    """A user's login sessions in force, the one used last first."""
    rows = select(LoginSession).where(
        LoginSession.user_id == user_id,
        LoginSession.expires_at > now,
        LoginSession.seen_at > now - timedelta(seconds=idle),
    )
    return s.scalars(rows.order_by(LoginSession.seen_at.desc(), LoginSession.id.desc())).all()


def revoke_own(s: Session, actor: Actor, user_id: int, session_ids: Collection[int]) -> set[int]:
    """End some of a user's own login sessions; return which there were, other users' never among them."""
    gone = s.scalars(
        sql_delete(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.id.in_(session_ids))
        .returning(LoginSession.id)
    )
    ended = set(gone)
    if ended:
        audit.record(s, actor, "login.sign-out", "", f"{len(ended)} elsewhere")
    return ended


@reads
def page(
    s: Session, now: datetime, idle: float, *, search: str = "", offset: int = 0, limit: int = 50
) -> Page[LoginSession]:
    """Everybody's login sessions in force with their users, the one used last first.

    Every word of ``search`` is in the user's name or mail address, or is the beginning of the browser's address.
    """
    rows = (
        select(LoginSession)
        .join(LoginSession.user)
        .where(LoginSession.expires_at > now, LoginSession.seen_at > now - timedelta(seconds=idle), User.active)
    )
    for word in search_words(search):
        found = User.search_text.contains(word, autoescape=True)
        rows = rows.where(or_(found, LoginSession.address.startswith(word, autoescape=True)))
    listed = rows.options(contains_eager(LoginSession.user))
    return paged(s, listed, (LoginSession.seen_at.desc(), LoginSession.id.desc()), offset, limit, counted=rows)


def end(s: Session, actor: Actor, session_id: int) -> int | None:
    """End somebody's login session; return whose it was, None if it had ended."""
    gone = sql_delete(LoginSession).where(LoginSession.id == session_id).returning(LoginSession.user_id)
    user_id = s.scalar(gone)
    user = None if user_id is None else s.get(User, user_id)
    if user is not None:
        audit.record(s, actor, "login.ended", f"user {user.username}", "one login session")
    return user_id


def revoke(s: Session, session_id: int) -> None:
    """End one login session; nothing happens if it has ended."""
    s.execute(sql_delete(LoginSession).where(LoginSession.id == session_id))


def revoke_all(s: Session, user_id: int) -> None:
    """End all login sessions of a user."""
    s.execute(sql_delete(LoginSession).where(LoginSession.user_id == user_id))


def purge(s: Session, now: datetime) -> None:
    """Delete rows that expired more than a day ago; nobody's rights change by it."""
    s.execute(
        sql_delete(LoginSession)
        .where(LoginSession.expires_at < now - KEEP_EXPIRED)
        .execution_options(access_epoch=False)
    )


@reads
def expiries(s: Session, session_ids: Collection[int]) -> dict[int, tuple[int, datetime]]:
    """The user and the absolute limit of those login sessions that exist, by id."""
    rows = s.execute(
        select(LoginSession.id, LoginSession.user_id, LoginSession.expires_at).where(LoginSession.id.in_(session_ids))
    )
    return {session_id: (user_id, expires_at) for session_id, user_id, expires_at in rows}


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


# Asked for every page and every console, so built once: putting a statement together costs more than running it.
_FIND = (
    select(
        LoginSession.id,
        User.id,
        User.username,
        User.display_name,
        User.role,
        LoginSession.expires_at,
        LoginSession.seen_at,
        LoginSession.created_at,
        User.language,
        User.time_zone,
    )
    .join(User, User.id == LoginSession.user_id)
    .where(
        LoginSession.token_hash == bindparam("token_hash"),
        LoginSession.expires_at > bindparam("now"),
        LoginSession.seen_at > bindparam("seen_after"),
        User.active,
    )
)
