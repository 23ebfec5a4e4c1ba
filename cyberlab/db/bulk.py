"""Many changes made in one go, and taken back: what each of them was is kept as JSON with the change itself.

Only rows that are as the change left them are taken back; for the others the undo says why it left them alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import BulkChange, utcnow
from cyberlab.db.page import Page, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import fetch
from cyberlab.db.text import clean
from cyberlab.phrases import Phrase

T = TypeVar("T")
AT_MOST = 20_000  # rows that one change may concern; its JSON is then some 3 MB
AT_ONCE = 500  # parameters of one statement
LEFT_SHOWN = 200  # of what an undo has left alone


@dataclass(frozen=True, slots=True)
class Done:
    """A change as its page shows it: what ``kind`` of change, of how many rows, with what it was ``about``.

    ``left``: what the undo did not take back, (object, reason) each, and ``left_count`` of them.
    """

    id: int
    kind: str
    count: int
    about: str
    at: datetime
    actor_id: int | None
    undone_at: datetime | None
    left: list[tuple[str, str]] = field(default_factory=list)
    left_count: int = 0


# Takes one kind of step back: (session, actor, the steps) -> what was left alone, (object, reason) each.
Undo: TypeAlias = Callable[[Session, Actor, Sequence[Any]], list[tuple[str, Phrase]]]


def record(s: Session, actor: Actor, kind: str, steps: Mapping[str, Sequence[Any]], about: str = "") -> int:
    """Keep what takes a change back, by the kind of step; return the change's id. ``kind``: a word for the page."""
    row = BulkChange(actor_id=actor.user_id, title=clean(f"{kind} {_count(steps)} {about}", 255), undo=_json(steps))
    s.add(row)
    s.flush()
    audit.record(s, actor, "bulk.change", f"change {row.id}", row.title)
    return row.id


@reads
def get(s: Session, change_id: int) -> Done | None:
    """One change, with what its undo left alone."""
    row = fetch(s, BulkChange, change_id)
    if row is None:
        return None
    kept = json.loads(row.undo).get("left", {}) if row.undone_at is not None else {}
    left = [(what, why) for what, why in kept.get("rows", ())]
    return replace(_done(row), left=left, left_count=kept.get("count", 0))


@reads
def page(s: Session, *, offset: int = 0, limit: int = 50) -> Page[Done]:
    """All changes, newest first."""
    rows = select(BulkChange).options(defer(BulkChange.undo, raiseload=True))
    found = paged(s, rows, (BulkChange.id.desc(),), offset, limit)
    return Page([_done(row) for row in found.rows], found.total, found.offset, found.limit)


def undo(s: Session, actor: Actor, change_id: int, kinds: Mapping[str, Undo]) -> Done:
    """Take a change back as far as its rows are as it left them; raise NotFound, or Conflict if it was done before."""
    if fetch(s, BulkChange, change_id) is None:
        raise NotFound(f"change {change_id}")
    row = s.scalars(
        select(BulkChange).where(BulkChange.id == change_id).with_for_update().execution_options(populate_existing=True)
    ).one()
    if row.undone_at is not None:
        raise Conflict("undo", Phrase("this change has been taken back already"))
    left: list[tuple[str, Phrase]] = []
    for kind, rows in json.loads(row.undo).items():
        left += kinds[kind](s, actor, rows)
    row.undone_at = utcnow()
    # The steps are of no use any more.
    row.undo = _json({"left": {"rows": [(what, why.key) for what, why in left[:LEFT_SHOWN]], "count": len(left)}})
    done = _done(row)
    audit.record(s, actor, "bulk.undo", f"change {row.id}", f"{row.title}: {done.count - len(left)} taken back")
    return done


def check_size(number: int) -> None:
    """Raise Conflict for more rows than one change may concern."""
    if number > AT_MOST:
        words = Phrase("at most %(most)d rows can be changed at a time; these are %(many)d", most=AT_MOST, many=number)
        raise Conflict("selection", words)


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """The values, as many at a time as one statement may have parameters."""
    rest = iter(values)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _done(row: BulkChange) -> Done:
    kind, count, about = (*row.title.split(" ", 2), "", "")[:3]
    return Done(row.id, kind, int(count), about, row.at, row.actor_id, row.undone_at)


def _count(steps: Mapping[str, Sequence[Any]]) -> int:
    return sum(len(rows) for rows in steps.values())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
