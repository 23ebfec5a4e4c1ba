"""How each kind of change to many rows is taken back, as far as the rows are as it left them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from cyberlab.db import audit, bulk, bulk_rows, bulk_users
from cyberlab.db.audit import Actor
from cyberlab.db.bulk_rows import Row
from cyberlab.db.models import Assignment, Group, User, Vm
from cyberlab.phrases import Phrase

Left: TypeAlias = tuple[str, Phrase]
_GONE = Phrase("it has been removed since")
_CHANGED = Phrase("it has been changed since")
_NO_HOLDER = Phrase("its machine, user or class has been removed since")
_THERE = Phrase("it has been assigned again since")


def _back_made(s: Session, actor: Actor, steps: Sequence[Any]) -> list[Left]:
    rows, left = _unchanged(s, [(row_id, version) for row_id, version in steps])
    bulk_rows.remove(s, (row.id for row in rows))
    audit.record_many(s, actor, "assignment.delete", ((row.label, row.terms) for row in rows))
    return left


def _back_changed(s: Session, actor: Actor, steps: Sequence[Any]) -> list[Left]:
    before = {step[0]: step[2:] for step in steps}
    rows, left = _unchanged(s, [(step[0], step[1]) for step in steps])
    restored = []
    for row in rows:
        starts, ends, power, reset = before[row.id]
        restored.append(
            row._replace(starts_at=_moment(starts), ends_at=_moment(ends), can_power=power, can_reset=reset)
        )
    bulk_rows.update_terms(s, restored)
    audit.record_many(s, actor, "assignment.update", ((row.label, row.terms) for row in restored))
    return left


def _back_removed(s: Session, actor: Actor, steps: Sequence[Any]) -> list[Left]:
    vms = _there(s, Vm, (step[0] for step in steps))
    users = _there(s, User, (step[1] for step in steps))
    groups = _there(s, Group, (group for step in steps for group in step[2:4]))
    taken: set[tuple[int, int | None, int | None]] = set()
    columns = (Assignment.vm_id, Assignment.user_id, Assignment.group_id)
    for some in bulk.chunks(vms):
        there = s.execute(select(*columns).where(Assignment.vm_id.in_(some)))
        taken.update((vm_id, user_id, group_id) for vm_id, user_id, group_id in there)
    left: list[Left] = []
    again = []
    for vm_id, user_id, group_id, via, starts, ends, power, reset, label in steps:
        if vm_id not in vms or user_id not in users or group_id not in groups or via not in groups:
            left.append((label, _NO_HOLDER))
        elif (vm_id, user_id, group_id) in taken:
            left.append((label, _THERE))
        else:
            again.append(
                {
                    "vm_id": vm_id,
                    "user_id": user_id,
                    "group_id": group_id,
                    "via_group_id": via,
                    "starts_at": _moment(starts),
                    "ends_at": _moment(ends),
                    "can_power": power,
                    "can_reset": reset,
                }
            )
    for some_rows in bulk.chunks(again):
        s.execute(insert(Assignment), some_rows)
    done = {label for label, _ in left}
    audit.record_many(s, actor, "assignment.create", ((step[8], "") for step in steps if step[8] not in done))
    return left


def _unchanged(s: Session, steps: Sequence[tuple[int, int]]) -> tuple[list[Row], list[Left]]:
    """Those rows that still have the version of the change, locked; and the others, with the reason."""
    ids = [row_id for row_id, _ in steps]
    bulk_rows.lock(s, ids)
    there = {row.id: row for row in bulk_rows.rows(s, ids)}
    same: list[Row] = []
    left: list[Left] = []
    for row_id, version in steps:
        row = there.get(row_id)
        if row is None:
            left.append((f"assignment {row_id}", _GONE))
        elif row.version != version:
            left.append((row.label, _CHANGED))
        else:
            same.append(row)
    return same, left


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _there(s: Session, model: type[Vm] | type[User] | type[Group], ids: Iterable[int | None]) -> set[int | None]:
    """Those of the ids that exist, and None."""
    found: set[int | None] = {None}
    for some in bulk.chunks({row_id for row_id in ids if row_id is not None}):
        found.update(s.scalars(select(model.id).where(model.id.in_(some))))
    return found


UNDO: dict[str, bulk.Undo] = {
    "made": _back_made,
    "changed": _back_changed,
    "removed": _back_removed,
    "disabled": bulk_users.take_back,
}
