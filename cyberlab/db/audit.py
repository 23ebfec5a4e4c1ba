"""Who did what to which object: written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Select, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from cyberlab.db.models import AuditEvent, User
from cyberlab.db.page import Page, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import deleted
from cyberlab.db.text import clean, search_words

_AT_ONCE = 1000  # rows of one statement


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it: a user's id and name with the browser's address, or None and the name of a tool ("cli")."""

    user_id: int | None
    name: str
    address: str = ""


def still_known(s: Session, actor: Actor) -> Actor:
    """The same actor, as a name alone if that user is deleted: for the end of what outlives its request.

    The row that is there stays until the transaction ends: locked on PostgreSQL, and SQLite has one writer at a time.
    """
    if actor.user_id is None:
        return actor
    row = select(User.id).where(User.id == actor.user_id).with_for_update(read=True, key_share=True)
    return actor if s.scalar(row) is not None else replace(actor, user_id=None)


def record(s: Session, actor: Actor, action: str, object: str = "", detail: str = "") -> None:
    """Add an audit row; whoever calls keeps secrets out of ``detail``."""
    s.add(
        AuditEvent(
            actor_id=actor.user_id,
            actor=clean(actor.name, 255),
            action=clean(action, 64),
            object=clean(object, 320),
            detail=clean(detail, 1024),
            address=clean(actor.address, 45),
        )
    )


def record_many(s: Session, actor: Actor, action: str, about: Iterable[tuple[str, str]]) -> None:
    """Add an audit row for each (object, detail): one statement for a thousand of them."""
    same = {
        "actor_id": actor.user_id,
        "actor": clean(actor.name, 255),
        "action": clean(action, 64),
        "address": clean(actor.address, 45),
    }
    rows = [same | {"object": clean(object, 320), "detail": clean(detail, 1024)} for object, detail in about]
    for start in range(0, len(rows), _AT_ONCE):
        s.execute(insert(AuditEvent), rows[start : start + _AT_ONCE])


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What the log is narrowed to; empty means anything."""

    search: str = ""  # every word is in the actor, action, object, detail or address
    actor: str = ""  # a part of the name
    action: str = ""  # that one, or with a dot at its end all that begin with it
    object: str = ""  # a part of it
    since: datetime | None = None
    until: datetime | None = None


def _chosen(chosen: AuditFilter) -> Select[AuditEvent]:
    rows = select(AuditEvent)
    columns = (AuditEvent.actor, AuditEvent.action, AuditEvent.object, AuditEvent.detail, AuditEvent.address)
    for word in search_words(chosen.search):
        rows = rows.where(or_(*(column.icontains(word, autoescape=True) for column in columns)))
    for word in search_words(chosen.actor):
        rows = rows.where(AuditEvent.actor.icontains(word, autoescape=True))
    for word in search_words(chosen.object):
        rows = rows.where(AuditEvent.object.icontains(word, autoescape=True))
    action = clean(chosen.action, 64)
    if action.endswith("."):
        rows = rows.where(AuditEvent.action.startswith(action, autoescape=True))
    elif action:
        rows = rows.where(AuditEvent.action == action)
    if chosen.since is not None:
        rows = rows.where(AuditEvent.at >= chosen.since)
    if chosen.until is not None:
        rows = rows.where(AuditEvent.at <= chosen.until)
    return rows


@reads
def page(
    s: Session, chosen: AuditFilter | None = None, *, search: str = "", offset: int = 0, limit: int = 50
) -> Page[AuditEvent]:
    """Audit rows, newest first. ``search``: instead of a filter."""
    return paged(s, _chosen(chosen or AuditFilter(search)), (AuditEvent.id.desc(),), offset, limit)


@reads
def before(s: Session, chosen: AuditFilter, last: int | None, limit: int) -> list[AuditEvent]:
    """The next rows of an export, newest first: those before the one with the id ``last``."""
    rows = _chosen(chosen)
    if last is not None:
        rows = rows.where(AuditEvent.id < last)
    return list(s.scalars(rows.order_by(AuditEvent.id.desc()).limit(limit)))


@reads
def actions(s: Session) -> list[str]:
    """The actions that the log has."""
    return list(s.scalars(select(AuditEvent.action).distinct().order_by(AuditEvent.action)))


@reads
def count(s: Session, actions: Sequence[str], since: datetime) -> int:
    """How often any of these happened since then."""
    counted = select(func.count()).select_from(AuditEvent)
    return s.scalar(counted.where(AuditEvent.action.in_(actions), AuditEvent.at >= since)) or 0


@reads
def newest(s: Session, action: str, detail: str) -> AuditEvent | None:
    """The newest row of an action whose detail begins so."""
    rows = select(AuditEvent).where(AuditEvent.action == action, AuditEvent.detail.startswith(detail, autoescape=True))
    return s.scalar(rows.order_by(AuditEvent.id.desc()).limit(1))


def purge(s: Session, before: datetime, most: int = 5000) -> int:
    """Delete the oldest rows from before that time, ``most`` at a time; return how many."""
    old = select(AuditEvent.id).where(AuditEvent.at < before).order_by(AuditEvent.at).limit(most)
    return deleted(s, delete(AuditEvent).where(AuditEvent.id.in_(old.scalar_subquery())))
