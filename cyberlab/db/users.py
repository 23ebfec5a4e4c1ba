"""Queries about users. Every change writes an audit row in the same transaction."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from cyberlab.db import audit, devices
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import LoginSession, Role, User
from cyberlab.db.page import Page, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import add, edit, fetch
from cyberlab.db.text import clean, is_lookalike, normalise_username
from cyberlab.db.user_filter import UserFilter
from cyberlab.phrases import Phrase

LOCAL = "local"
NAME_LIMIT = 255
_ADMINISTERS = (and_(User.role == Role.ADMIN, User.active),)


@reads
def get(s: Session, user_id: int) -> User | None:
    """The user with that id."""
    return fetch(s, User, user_id)


@reads
def by_ids(s: Session, user_ids: Collection[int]) -> dict[int, User]:
    """Those users that exist, by id."""
    return {user.id: user for user in s.scalars(select(User).where(User.id.in_(user_ids)))}


@reads
def by_name(s: Session, username: str, backend: str = LOCAL) -> User | None:
    """The user of that name, in any spelling, in one backend."""
    return s.scalar(select(User).where(User.backend == backend, User.username == normalise_username(clean(username))))


@reads
def backends_of(s: Session, username: str) -> set[str]:
    """The backends in which that name is known here."""
    return set(s.scalars(select(User.backend).where(User.username == normalise_username(clean(username)))))


@reads
def page(
    s: Session,
    *,
    search: str = "",
    role: Role | None = None,
    only: UserFilter | None = None,
    offset: int = 0,
    limit: int = 50,
) -> Page[User]:
    """Users by name; every word of ``search`` is in the user name, display name or mail address.

    ``only``: instead of ``search`` and ``role``, the whole filter.
    """
    rows = (only or UserFilter(search, role)).apply(select(User))
    return paged(s, rows, (User.username, User.id), offset, limit)


@reads
def backends(s: Session) -> list[str]:
    """The names of the backends that users are of."""
    return sorted(s.scalars(select(User.backend).distinct()))


@reads
def count_active_admins(s: Session) -> int:
    """How many could administer the portal today."""
    return s.scalar(select(func.count()).select_from(User).where(User.role == Role.ADMIN, User.active)) or 0


def only_admin(s: Session, user_id: int) -> bool:
    """Whether nobody else could administer the portal; holds until the transaction ends."""
    return _admins(_lock(s, user_id, *_ADMINISTERS)) == {user_id}


def create(
    s: Session,
    actor: Actor,
    *,
    username: str,
    role: Role,
    password_hash: str | None = None,
    display_name: str = "",
    email: str | None = None,
    backend: str = LOCAL,
) -> User:
    """Add a user; raise Conflict for a name that is taken in that backend or is none."""
    name = _checked_name(username)
    user = User(
        backend=backend,
        username=name,
        role=role,
        password_hash=password_hash,
        display_name=clean(display_name, NAME_LIMIT),
        email=_checked_email(email),
    )
    add(s, user, Conflict("username", Phrase("there already is a user “%(name)s”", name=name)))
    audit.record(s, actor, "user.create", _label(user), f"role {role}")
    return user


def update(
    s: Session,
    actor: Actor,
    user_id: int,
    *,
    display_name: str,
    email: str | None,
    role: Role,
    version: int | None = None,
) -> User:
    """Change what an admin may edit; raise NotFound, Stale, or Conflict for the last active admin's role."""
    user = _locked(s, user_id) if role == Role.ADMIN else _locked_with_an_admin_left(s, user_id, "role")
    edit(s, user, version)
    before = user.role
    user.display_name = clean(display_name, NAME_LIMIT)
    user.email = _checked_email(email)
    if before != role:
        user.role, user.role_mapped = role, False  # an admin's word stands, whatever a backend's groups say
    audit.record(s, actor, "user.update", _label(user), f"role {before} -> {role}" if before != role else "")
    return user


def set_preferences(s: Session, user_id: int, *, language: str, time_zone: str) -> None:
    """What a user chose for their pages: a code and a zone's name, checked by the caller; empty: the browser's."""
    s.execute(
        sql_update(User)
        .where(User.id == user_id)
        .values(language=language, time_zone=time_zone)
        .execution_options(access_epoch=False)
    )


def set_password(s: Session, actor: Actor, user_id: int, password_hash: str, *, keep: int | None = None) -> None:
    """Replace the password's hash, end the user's login sessions and forget their devices.

    ``keep``: the login session that goes on, of who changes their own. Raises NotFound or Conflict.
    """
    user = _locked(s, user_id)
    if user.backend != LOCAL:
        raise Conflict(
            "password",
            Phrase(
                "the password of “%(name)s” is kept by %(backend)s, not here", name=user.username, backend=user.backend
            ),
        )
    user.password_hash = password_hash
    _revoke_logins(s, user.id, keep)
    devices.revoke_all(s, user.id)
    audit.record(s, actor, "user.password", _label(user))


def replace_hash(s: Session, user_id: int, old: str, new: str) -> None:
    """Exchange the hash of an unchanged password (another cost), unless the password has changed meanwhile."""
    s.execute(
        sql_update(User)
        .where(User.id == user_id, User.password_hash == old)
        .values(password_hash=new)
        .execution_options(access_epoch=False)
    )


def set_active(s: Session, actor: Actor, user_id: int, active: bool) -> None:
    """Enable or disable; disabling ends all login sessions. Raise NotFound, or Conflict for the last active admin."""
    user = _locked(s, user_id) if active else _locked_with_an_admin_left(s, user_id, "active")
    edit(s, user, None)
    if not active:
        _revoke_logins(s, user.id)
    user.active = active
    audit.record(s, actor, "user.enable" if active else "user.disable", _label(user))


def sign_out(s: Session, actor: Actor, user_id: int) -> None:
    """End a user's login sessions and forget their devices, so that the next sign-in decides anew. Raise NotFound."""
    user = _locked(s, user_id)
    _revoke_logins(s, user.id)
    devices.revoke_all(s, user.id)
    audit.record(s, actor, "user.sign-out", _label(user))


def delete(s: Session, actor: Actor, user_id: int) -> None:
    """Remove a user with memberships, assignments and login sessions; history stays, by name.

    Raises NotFound, or Conflict for the last active admin.
    """
    user = _locked_with_an_admin_left(s, user_id, "user")
    audit.record(s, actor, "user.delete", _label(user))
    s.delete(user)


def claim(s: Session, *, backend: str, subject: str, username: str) -> User | None:
    """The row that a backend's (subject, name) signs in to, locked until the transaction ends; None: there is none.

    The first sign-in claims a row of that name that nobody has claimed; later ones find it by the subject,
    so that a name which a directory gives to somebody else does not come with the former owner's rights.
    """
    user = s.scalar(
        select(User).where(User.backend == backend, User.subject == subject).with_for_update(key_share=True)
    )
    if user is None and not is_lookalike(username):  # which some backends let people call themselves
        name = normalise_username(clean(username))
        user = s.scalar(
            select(User)
            .where(User.backend == backend, User.username == name, User.subject.is_(None))
            .with_for_update(key_share=True)
        )
        if user is not None:
            user.subject = subject
    return user


def _locked(s: Session, user_id: int) -> User:
    """The user as of now, locked until the transaction ends; raise NotFound."""
    return _lock(s, user_id)[user_id]


def _locked_with_an_admin_left(s: Session, user_id: int, field: str) -> User:
    """_locked(); raise Conflict if the user is the only active admin.

    Locks the other admins in the same statement, in one order, so that two who remove each other
    neither both succeed nor wait for each other for ever.
    """
    rows = _lock(s, user_id, *_ADMINISTERS)
    if _admins(rows) == {user_id}:
        raise Conflict(
            field,
            Phrase("“%(name)s” is the last active admin; make another one first", name=rows[user_id].username),
        )
    return rows[user_id]


def _admins(rows: dict[int, User]) -> set[int]:
    return {row.id for row in rows.values() if row.role == Role.ADMIN and row.active}


def _lock(s: Session, user_id: int, *others: ColumnElement[bool]) -> dict[int, User]:
    found: dict[int, User] = {}
    if fetch(s, User, user_id) is not None:
        rows = select(User).where(or_(User.id == user_id, *others)).order_by(User.id).with_for_update(key_share=True)
        found = {row.id: row for row in s.scalars(rows.execution_options(populate_existing=True))}
    if user_id not in found:
        raise NotFound(f"user {user_id}")
    return found


def _revoke_logins(s: Session, user_id: int, keep: int | None = None) -> None:
    gone = sql_delete(LoginSession).where(LoginSession.user_id == user_id)
    s.execute(gone if keep is None else gone.where(LoginSession.id != keep))


def _checked_name(username: str) -> str:
    name = normalise_username(username)
    if not name:
        raise Conflict("username", "a user name is needed")
    if len(name) > NAME_LIMIT:
        raise Conflict("username", Phrase("a user name has at most %(most)d characters", most=NAME_LIMIT))
    if not name.isprintable() or any(char.isspace() for char in name):
        raise Conflict("username", "a user name has no spaces or control characters")
    return name


def _checked_email(email: str | None) -> str | None:
    address = clean(email or "")
    if not address:
        return None
    if len(address) > 320 or "@" not in address.strip("@") or any(char.isspace() for char in address):
        raise Conflict("email", "that is no mail address")
    return address


def _label(user: User) -> str:
    return f"user {user.username}" if user.backend == LOCAL else f"user {user.username} ({user.backend})"
