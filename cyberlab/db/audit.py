"""Who did what to which object: written in the transaction of the change itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import insert, or_, select
from sqlalchemy.orm import Session

from cyberlab.db.models import AuditEvent
from cyberlab.db.page import Page, paged
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean, search_words

_AT_ONCE = 1000  # rows of one statement


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it: a user's id and name with the browser's address, or None and the name of a tool ("cli")."""

    user_id: int | None
    name: str
    address: str = ""


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
    rows = [
        {
            "actor_id": actor.user_id,
            "actor": clean(actor.name, 255),
            "action": clean(action, 64),
            "object": clean(object, 320),
            "detail": clean(detail, 1024),
            "address": clean(actor.address, 45),
        }
        for object, detail in about
    ]
    for start in range(0, len(rows), _AT_ONCE):
        s.execute(insert(AuditEvent), rows[start : start + _AT_ONCE])


@reads
def page(s: Session, *, search: str = "", offset: int = 0, limit: int = 50) -> Page[AuditEvent]:
    """Audit rows, newest first; every word of ``search`` is in the actor, action, object or address."""
    rows = select(AuditEvent)
    columns = (AuditEvent.actor, AuditEvent.action, AuditEvent.object, AuditEvent.address)
    for word in search_words(search):
        rows = rows.where(or_(*(column.icontains(word, autoescape=True) for column in columns)))
    return paged(s, rows, (AuditEvent.id.desc(),), offset, limit)
