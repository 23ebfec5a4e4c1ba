"""What people hold, as their pages show it: a student's machines, a class's machines and who is in it.

Each is a fixed number of statements, however many machines there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.assignments import in_force, joined, lasting
from cyberlab.db.audit import Actor
from cyberlab.db.models import Assignment, ConsoleSession, Group, Membership, MembershipRole, User, Vm
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean, fold


@dataclass(slots=True)
class Holding:
    """A machine of somebody's, whatever the number of assignments that give it to them.

    ``starts_at``: set while it has not begun; ``ends_at``: None if it never ends.
    """

    vm: Vm
    class_name: str
    starts_at: datetime | None
    ends_at: datetime | None
    can_power: bool
    can_reset: bool


@dataclass(slots=True)
class TaughtClass:
    """One class of a teacher's; the machines by the portal's ids."""

    group: Group
    students: int = 0
    vms: dict[int, Vm] = field(default_factory=dict)


@reads
def of_user(s: Session, user_id: int, now: datetime) -> list[Holding]:
    """What a user holds now or will hold, by VM name: what is theirs now before what begins later."""
    mine = select(Membership.group_id).where(Membership.user_id == user_id)
    rows = joined().where(lasting(now), or_(Assignment.user_id == user_id, Assignment.group_id.in_(mine)))
    found: dict[int, list[Assignment]] = defaultdict(list)
    for row in s.scalars(rows.order_by(Assignment.user_id.is_(None), Assignment.id)):
        found[row.vm_id].append(row)
    holdings = [_merged(rows, now) for rows in found.values()]
    return sorted(holdings, key=lambda row: (row.starts_at is not None, row.starts_at or now, row.vm.name, row.vm.id))


def _merged(rows: list[Assignment], now: datetime) -> Holding:
    begun = [row for row in rows if row.starts_at is None or row.starts_at <= now]
    if not begun:
        begun = [min(rows, key=lambda row: row.starts_at or now)]
    first = begun[0]
    ends = [row.ends_at for row in begun]
    return Holding(
        vm=first.vm,
        class_name=first.class_of.name if first.class_of else "",
        starts_at=first.starts_at if first.starts_at is not None and first.starts_at > now else None,
        ends_at=None if None in ends else max(end for end in ends if end is not None),
        can_power=any(row.can_power for row in begun),
        can_reset=any(row.can_reset for row in begun),
    )


@reads
def of_class(s: Session, group_id: int, now: datetime) -> list[Assignment]:
    """What a class holds now, its students for its sake, or for no class's: by person, all loaded."""
    rows = s.scalars(joined().where(in_force(now), _of_classes([group_id])).order_by(Vm.name, Vm.id, Assignment.id))
    return sorted(rows, key=_by_person)


@reads
def is_of_class(s: Session, vm_id: int, group_id: int, at: datetime) -> bool:
    """Whether of_class() would have that VM among what was held at that time, by the rows that there are now."""
    rows = joined().where(in_force(at), _of_classes([group_id]), Assignment.vm_id == vm_id)
    return s.scalar(rows.with_only_columns(Assignment.id).limit(1)) is not None


def _by_person(row: Assignment) -> tuple[bool, str]:
    """As people look for a name, Ç beside C; what the whole class holds comes last."""
    return row.user is None, fold(row.user.display_name or row.user.username) if row.user else ""


@reads
def taught_by(s: Session, user_id: int, now: datetime) -> list[TaughtClass]:
    """A teacher's classes by name, with what their machines are now."""
    rows = select(Group).join(Membership, Membership.group_id == Group.id).where(
        Membership.user_id == user_id, Membership.role == MembershipRole.TEACHER, Group.archived_at.is_(None)
    )  # fmt: skip
    found = {group.id: TaughtClass(group) for group in s.scalars(rows.order_by(Group.name, Group.id))}
    if not found:
        return []
    classes_of: dict[int, list[int]] = defaultdict(list)
    students = select(Membership.user_id, Membership.group_id).where(
        Membership.group_id.in_(found), Membership.role == MembershipRole.STUDENT
    )
    for student, group_id in s.execute(students):
        classes_of[student].append(group_id)
        found[group_id].students += 1
    for row in s.scalars(joined().where(in_force(now), _of_classes(list(found)))):
        direct = classes_of[row.user_id or 0] if row.via_group_id is None else []
        for taught in {row.group_id, row.via_group_id, *direct} & found.keys():
            found[taught or 0].vms[row.vm_id] = row.vm
    return list(found.values())


@reads
def people_of(s: Session, group_id: int) -> list[tuple[User, MembershipRole]]:
    """Who is in a class, by name."""
    rows = (
        select(User, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.group_id == group_id)
        .order_by(User.display_name, User.username, User.id)
    )
    return [(user, role) for user, role in s.execute(rows)]


@reads
def last_used(s: Session, vm_ids: Collection[int], user_ids: Collection[int]) -> dict[int, datetime]:
    """When one of these users last had a console of each VM."""
    rows = (
        select(ConsoleSession.vm_id, func.max(func.coalesce(ConsoleSession.ended_at, ConsoleSession.started_at)))
        .where(ConsoleSession.vm_id.in_(vm_ids), ConsoleSession.user_id.in_(user_ids))
        .group_by(ConsoleSession.vm_id)
    )
    return {vm_id: at for vm_id, at in s.execute(rows) if vm_id is not None}


def name_snapshot(s: Session, actor: Actor, vm_ids: Collection[int], name: str) -> None:
    """Say which snapshot people may take these VMs back to; "" for none."""
    name = clean(name, 40)
    for vm in s.scalars(select(Vm).where(Vm.id.in_(vm_ids))):
        audit.record(s, actor, "vm.snapshot", f"vm {vm.label}", f"resets to {name or '–'}")
    changed = update(Vm).where(Vm.id.in_(vm_ids)).values(reset_snapshot=name)
    s.execute(changed.execution_options(access_epoch=False, synchronize_session=False))


def _of_classes(group_ids: Collection[int]) -> ColumnElement[bool]:
    students = select(Membership.user_id).where(
        Membership.group_id.in_(group_ids), Membership.role == MembershipRole.STUDENT
    )
    return or_(
        Assignment.group_id.in_(group_ids),
        Assignment.via_group_id.in_(group_ids),
        and_(Assignment.via_group_id.is_(None), Assignment.user_id.in_(students)),
    )
