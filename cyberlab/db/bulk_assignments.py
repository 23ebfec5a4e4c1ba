"""Many assignments changed in one go: times, rights, ended, removed, made; each with what takes it back (bulk.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import func, insert, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cyberlab.db import audit, bulk, bulk_rows
from cyberlab.db.assignment_filter import Filter
from cyberlab.db.audit import Actor
from cyberlab.db.bulk_rows import Row
from cyberlab.db.errors import Conflict, Stale
from cyberlab.db.models import Assignment
from cyberlab.db.read_only import reads
from cyberlab.db.rows import MAX_ID
from cyberlab.phrases import Phrase

NOT_BEGUN = Phrase("it has not begun by then; remove it instead")
REVERSED = Phrase("it would end before it starts")
MADE_MEANWHILE = Phrase("one of these has been assigned meanwhile; look at the preview again")


class Keep:
    """Instead of a value: what is there stays."""

    def __repr__(self) -> str:
        return "KEEP"


KEEP = Keep()


@dataclass(frozen=True, slots=True)
class Terms:
    """Other times or rights for all of them; None for a right keeps it."""

    starts_at: datetime | Keep | None = KEEP
    ends_at: datetime | Keep | None = KEEP
    can_power: bool | None = None
    can_reset: bool | None = None

    def apply(self, row: Row) -> Row | Phrase:
        """The row as it would be, or why it cannot."""
        starts = row.starts_at if isinstance(self.starts_at, Keep) else self.starts_at
        ends = row.ends_at if isinstance(self.ends_at, Keep) else self.ends_at
        if starts is not None and ends is not None and ends <= starts:
            return REVERSED
        power = row.can_power if self.can_power is None else self.can_power
        reset = row.can_reset if self.can_reset is None else self.can_reset
        return row._replace(starts_at=starts, ends_at=ends, can_power=power, can_reset=reset)


@dataclass(frozen=True, slots=True)
class End:
    """No later end than this; one that has ended before stays as it is."""

    at: datetime

    def apply(self, row: Row) -> Row | Phrase:
        """The row as it would be, or why it cannot."""
        if row.ends_at is not None and row.ends_at <= self.at:
            return row
        if row.starts_at is not None and row.starts_at >= self.at:
            return NOT_BEGUN
        return row._replace(ends_at=self.at)


@dataclass(frozen=True, slots=True)
class Remove:
    """Taken away altogether."""


Change: TypeAlias = Terms | End | Remove
Selection: TypeAlias = Collection[int] | Filter


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change would do: (before, after) of what changes, and what cannot be changed with the reason.

    ``digest``: of the change and all that was looked at; another one when it is applied means that something has
    changed since.
    """

    changed: list[tuple[Row, Row]] = field(default_factory=list)
    unchanged: int = 0
    refused: list[tuple[Row, Phrase]] = field(default_factory=list)
    digest: str = ""


@reads
def plan(s: Session, selection: Selection, change: Change, now: datetime) -> Plan:
    """Look at what a change would do; raise Conflict for more rows than one change may concern."""
    return _plan(_selected(s, selection, now), change)


def apply(
    s: Session, actor: Actor, selection: Selection, change: Change, now: datetime, digest: str, *, about: str = ""
) -> int:
    """Do what the plan with that digest showed; return the id of the change, for the undo. ``about``: kept with it.

    Raises Stale if anything of it has changed since, and Conflict as plan() does.
    """
    ids = [row.id for row in _selected(s, selection, now)]
    bulk_rows.lock(s, ids)
    planned = _plan(bulk_rows.rows(s, ids), change)
    if planned.digest != digest:
        raise Stale
    before = [row for row, _ in planned.changed]
    if isinstance(change, Remove):
        bulk_rows.remove(s, (row.id for row in before))
        audit.record_many(s, actor, "assignment.delete", ((row.label, row.terms) for row in before))
        return bulk.record(s, actor, "assignments-removed", {"removed": [_kept(row) for row in before]}, about)
    bulk_rows.update_terms(s, [after for _, after in planned.changed])
    audit.record_many(
        s, actor, "assignment.update", ((row.label, f"{new.terms}; was {row.terms}") for row, new in planned.changed)
    )
    kind = "assignments-ended" if isinstance(change, End) else "assignments-changed"
    steps = [[row.id, row.version + 1, *_terms(row)] for row in before]
    return bulk.record(s, actor, kind, {"changed": steps}, about)


def make(s: Session, actor: Actor, wanted: Sequence[dict[str, Any]], about: str = "") -> int:
    """Make assignments (columns by name) whose holders and machines exist; return the id of the change.

    Raises Conflict if somebody has made one of them meanwhile.
    """
    pairs = {(row["vm_id"], row["user_id"]) for row in wanted}
    for some in bulk.chunks(pairs):
        there = select(Assignment.id).where(tuple_(Assignment.vm_id, Assignment.user_id).in_(some))
        if s.scalar(there.limit(1)) is not None:
            raise Conflict("pair", MADE_MEANWHILE)
    ids: list[int] = []
    try:
        with s.begin_nested():
            for some_rows in bulk.chunks(wanted):
                ids += s.scalars(insert(Assignment).returning(Assignment.id), some_rows)
    except IntegrityError as error:
        raise Conflict("pair", MADE_MEANWHILE) from error
    made = bulk_rows.rows(s, ids)
    audit.record_many(s, actor, "assignment.create", ((row.label, row.terms) for row in made))
    return bulk.record(s, actor, "assignments-made", {"made": [[row.id, row.version] for row in made]}, about)


def _plan(rows: Sequence[Row], change: Change) -> Plan:
    looked_at = repr((change, [(row.id, row.version) for row in rows]))
    planned = Plan(digest=hashlib.sha256(looked_at.encode()).hexdigest()[:32])
    unchanged = 0
    for row in rows:
        if isinstance(change, Remove):
            planned.changed.append((row, row))
            continue
        after = change.apply(row)
        if isinstance(after, Phrase):
            planned.refused.append((row, after))
        elif after == row:
            unchanged += 1
        else:
            planned.changed.append((row, after))
    return Plan(planned.changed, unchanged, planned.refused, planned.digest)


def _terms(row: Row) -> list[Any]:
    return [_text(row.starts_at), _text(row.ends_at), row.can_power, row.can_reset]


def _kept(row: Row) -> list[Any]:
    return [row.vm_id, row.user_id, row.group_id, row.via_group_id, *_terms(row), row.label]


def _selected(s: Session, selection: Selection, now: datetime) -> list[Row]:
    if not isinstance(selection, Filter):
        ids = {number for number in selection if 0 < number <= MAX_ID}
        bulk.check_size(len(ids))
        return bulk_rows.rows(s, ids)
    matching = selection.apply(select(Assignment), now).with_only_columns(Assignment.id)
    bulk.check_size(s.scalar(select(func.count()).select_from(matching.subquery())) or 0)
    return bulk_rows.rows(s, list(s.scalars(matching)))


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
