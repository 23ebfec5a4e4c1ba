"""Who has a machine in a span of time already: giving it to somebody else as well is possible, but seldom meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from cyberlab.db import bulk
from cyberlab.db.models import Assignment, Group, User
from cyberlab.db.read_only import reads

_Via = aliased(Group)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has it, and until when; ``name``: of the user or the class."""

    user_id: int | None
    group_id: int | None
    name: str
    ends_at: datetime | None


@reads
def holders(
    s: Session, vm_ids: Collection[int], starts_at: datetime | None, ends_at: datetime | None
) -> dict[int, list[Holder]]:
    """Machine -> those that have it at any time of the span; archived classes have none."""
    found: dict[int, list[Holder]] = defaultdict(list)
    rows = (
        select(Assignment.vm_id, Assignment.user_id, Assignment.group_id, User.username, Group.name, Assignment.ends_at)
        .outerjoin(User, User.id == Assignment.user_id)
        .outerjoin(Group, Group.id == Assignment.group_id)
        .outerjoin(_Via, _Via.id == Assignment.via_group_id)
        .where(Group.archived_at.is_(None), _Via.archived_at.is_(None))
        .order_by(Assignment.id)
    )
    if starts_at is not None:
        rows = rows.where(or_(Assignment.ends_at.is_(None), Assignment.ends_at > starts_at))
    if ends_at is not None:
        rows = rows.where(or_(Assignment.starts_at.is_(None), Assignment.starts_at < ends_at))
    for some in bulk.chunks(sorted(vm_ids)):
        for vm_id, user_id, group_id, user, group, until in s.execute(rows.where(Assignment.vm_id.in_(some))):
            found[vm_id].append(Holder(user_id, group_id, group if user is None else user, until))
    return dict(found)


@reads
def newcomers(s: Session, row: Assignment, starts_at: datetime | None, ends_at: datetime | None) -> list[Holder]:
    """Who has an assignment's machine in a new span of time and not in that of the assignment as it is."""
    if (starts_at, ends_at) == (row.starts_at, row.ends_at):
        return []
    known = holders(s, [row.vm_id], row.starts_at, row.ends_at).get(row.vm_id, [])
    return [each for each in holders(s, [row.vm_id], starts_at, ends_at).get(row.vm_id, []) if each not in known]
