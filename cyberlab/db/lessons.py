"""The end of a lesson before its time: nobody of the class holds its machines any more; and taking that back."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from cyberlab.db import audit, bulk, bulk_assignments
from cyberlab.db.assignments import in_force, joined
from cyberlab.db.audit import Actor
from cyberlab.db.bulk import Done
from cyberlab.db.bulk_assignments import End
from cyberlab.db.bulk_undo import UNDO
from cyberlab.db.errors import NotFound
from cyberlab.db.models import Assignment, BulkChange, Group
from cyberlab.db.read_only import reads

KIND = "assignments-ended"
OFFERED = timedelta(hours=1)  # so long a page offers to take it back


def end(s: Session, actor: Actor, group: Group, now: datetime) -> Done | None:
    """End what the class holds now and what its students hold for its sake; None if that is nothing."""
    for_its_sake = or_(Assignment.group_id == group.id, Assignment.via_group_id == group.id)
    ids = list(s.scalars(joined().where(in_force(now), for_its_sake).with_only_columns(Assignment.id)))
    if not ids:
        return None
    planned = bulk_assignments.plan(s, ids, End(now), now)
    if not planned.changed:
        return None
    change = bulk_assignments.apply(s, actor, ids, End(now), now, planned.digest, about=_about(group.id))
    audit.record(s, actor, "class.end", f"class {group.name}", f"{len(planned.changed)} assignments")
    return bulk.get(s, change)


@reads
def ended(s: Session, group_id: int, user_id: int, now: datetime) -> Done | None:
    """The end of a lesson of that class which this user may still take back."""
    newest = s.scalar(
        select(BulkChange.id)
        .where(
            BulkChange.at > now - OFFERED,
            BulkChange.actor_id == user_id,
            BulkChange.undone_at.is_(None),
            BulkChange.title.like(f"{KIND} % {_about(group_id)}"),
        )
        .order_by(BulkChange.id.desc())
        .limit(1)
    )
    return bulk.get(s, newest) if newest is not None else None


def take_back(s: Session, actor: Actor, group: Group, change_id: int, now: datetime) -> Done:
    """Let the lesson go on, as far as nobody has changed the assignments since; raise NotFound or Conflict.

    NotFound as well for a change that is none of ended()'s.
    """
    offered = ended(s, group.id, actor.user_id or 0, now)
    if offered is None or offered.id != change_id:
        raise NotFound(f"change {change_id} of class {group.id}")
    bulk.undo(s, actor, change_id, UNDO)
    audit.record(s, actor, "class.resume", f"class {group.name}")
    done = bulk.get(s, change_id)
    assert done is not None
    return done


def _about(group_id: int) -> str:
    return f"class {group_id}"
