"""Queries about console sessions: the record of who saw which screen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete as sql_delete
from sqlalchemy import or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from cyberlab.db.models import ConsoleSession, utcnow
from cyberlab.db.page import Page, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import deleted
from cyberlab.db.text import clean, search_words

ABANDONED = "abandoned"  # the end_reason of a console whose server died before it could write one


def opened(
    s: Session, *, user_id: int, vm_id: int, username: str, vm_label: str, address: str, wall: bool = False
) -> int:
    """Record that a console opens; return the row's id for closed(). ``wall``: as a tile of a teacher's wall."""
    row = ConsoleSession(
        user_id=user_id,
        vm_id=vm_id,
        username=clean(username, 255),
        vm_label=clean(vm_label, 320),
        address=clean(address, 45),
        wall=wall,
    )
    s.add(row)
    s.flush()
    return row.id


def closed(s: Session, console_id: int, *, bytes_to_client: int, bytes_to_upstream: int, end_reason: str) -> None:
    """Record how a console ended; the first call counts."""
    s.execute(
        sql_update(ConsoleSession)
        .where(ConsoleSession.id == console_id, ConsoleSession.ended_at.is_(None))
        .values(
            ended_at=utcnow(),
            bytes_to_client=bytes_to_client,
            bytes_to_upstream=bytes_to_upstream,
            end_reason=clean(end_reason, 64),
        )
    )


def close_abandoned(s: Session) -> None:
    """At start-up: end the rows that a crash has left open."""
    s.execute(
        sql_update(ConsoleSession)
        .where(ConsoleSession.ended_at.is_(None))
        .values(ended_at=utcnow(), end_reason=ABANDONED)
    )


@reads
def page(
    s: Session,
    *,
    search: str = "",
    vm_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    walls: bool = True,
    offset: int = 0,
    limit: int = 50,
) -> Page[ConsoleSession]:
    """Console sessions, newest first; every word of ``search`` is in the user name, the VM's label or the address.

    ``since``, ``until``: that were open at some time in between; ``walls``: also the tiles of teachers' walls.
    """
    rows = select(ConsoleSession)
    columns = (ConsoleSession.username, ConsoleSession.vm_label, ConsoleSession.address)
    for word in search_words(search):
        rows = rows.where(or_(*(column.icontains(word, autoescape=True) for column in columns)))
    if vm_id is not None:
        rows = rows.where(ConsoleSession.vm_id == vm_id)
    if since is not None:
        rows = rows.where(or_(ConsoleSession.ended_at.is_(None), ConsoleSession.ended_at >= since))
    if until is not None:
        rows = rows.where(ConsoleSession.started_at <= until)
    if not walls:
        rows = rows.where(ConsoleSession.wall.is_(False))
    return paged(s, rows, (ConsoleSession.id.desc(),), offset, limit)


def purge(s: Session, before: datetime, most: int = 5000) -> int:
    """Delete the oldest of those that ended before that time, ``most`` at a time; return how many."""
    old = select(ConsoleSession.id).where(ConsoleSession.ended_at < before).order_by(ConsoleSession.id).limit(most)
    return deleted(s, sql_delete(ConsoleSession).where(ConsoleSession.id.in_(old.scalar_subquery())))
