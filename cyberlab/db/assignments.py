"""Queries about assignments: which VM is given to whom, and what follows from it for one viewer.

An assignment is in force from ``starts_at`` (included) until ``ends_at`` (excluded); one to a class, or to a user
for a class's sake, only while that class is not archived.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session, aliased, contains_eager, joinedload

from cyberlab.db import audit
from cyberlab.db.assignment_filter import Filter
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Assignment, Group, Membership, MembershipRole, User, UtcDateTime, Vm, utcnow
from cyberlab.db.page import Page, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import add, edit, fetch

_Via = aliased(Group)  # the class for whose sake a user has the VM


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """What ties one user to one VM at one time; auth.access decides what follows."""

    assigned: bool = False  # in force now, to the user or to a class they are in
    # Teaches a class that holds the VM now, one for whose sake a user does, or (where it is for no class's sake) one
    # with a student who does; of a class: teaches it.
    teaches: bool = False
    can_power: bool = False  # an assignment of their own says so
    can_reset: bool = False


@reads
def get(s: Session, assignment_id: int) -> Assignment | None:
    """The assignment with that id; VM, user and class loaded."""
    return fetch(s, Assignment, assignment_id) and s.scalar(joined().where(Assignment.id == assignment_id))


@reads
def page(
    s: Session,
    *,
    search: str = "",
    only: Filter | None = None,
    now: datetime | None = None,
    offset: int = 0,
    limit: int = 50,
) -> Page[Assignment]:
    """Assignments by VM name, with VM, user and class loaded; every word of ``search`` is found in one of them.

    ``only``: instead of ``search``, the whole filter; ``now``: what its times are compared with.
    """
    found = (only or Filter(search)).apply(select(Assignment), now or utcnow())
    page = paged(s, found.join(Assignment.vm), (Vm.name, Vm.id, Assignment.id), offset, limit, counted=found)
    # The users and classes of this page's rows alone; joined to all rows they would cost more than the page.
    loaded = joined().where(Assignment.id.in_([row.id for row in page.rows]))
    rows = {row.id: row for row in s.scalars(loaded.execution_options(populate_existing=True))}
    return replace(page, rows=[rows[row.id] for row in page.rows])


def create(
    s: Session,
    actor: Actor,
    *,
    vm_id: int,
    user_id: int | None = None,
    group_id: int | None = None,
    via_group_id: int | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    can_power: bool = False,
    can_reset: bool = False,
) -> Assignment:
    """Give a VM to a user (``via_group_id``: for that class's sake) or to a class.

    Raises NotFound, or Conflict if it is theirs already.
    """
    if (user_id is None) == (group_id is None) or (via_group_id is not None and user_id is None):
        raise Conflict("user_id", "an assignment is to a user or to a class")
    if fetch(s, Vm, vm_id) is None:
        raise NotFound(f"VM {vm_id}")
    if user_id is not None and fetch(s, User, user_id) is None:
        raise NotFound(f"user {user_id}")
    for class_id in (group_id, via_group_id):
        if class_id is not None and fetch(s, Group, class_id) is None:
            raise NotFound(f"class {class_id}")
    _check_times(starts_at, ends_at)
    row = Assignment(
        vm_id=vm_id,
        user_id=user_id,
        group_id=group_id,
        via_group_id=via_group_id,
        starts_at=starts_at,
        ends_at=ends_at,
        can_power=can_power,
        can_reset=can_reset,
    )
    add(s, row, Conflict("user_id" if group_id is None else "group_id", "this VM is assigned there already; edit that"))
    loaded = _found(s, row.id)
    audit.record(s, actor, "assignment.create", _label(loaded), _describe(loaded))
    return loaded


def update(
    s: Session,
    actor: Actor,
    assignment_id: int,
    *,
    starts_at: datetime | None,
    ends_at: datetime | None,
    can_power: bool,
    can_reset: bool,
    version: int | None = None,
) -> Assignment:
    """Change times and rights; raise NotFound, Stale, or Conflict for an end before the start."""
    row = _found(s, assignment_id)
    _check_times(starts_at, ends_at)
    edit(s, row, version)
    before = _describe(row)
    row.starts_at, row.ends_at, row.can_power, row.can_reset = starts_at, ends_at, can_power, can_reset
    audit.record(s, actor, "assignment.update", _label(row), f"{_describe(row)}; was {before}")
    return row


def delete(s: Session, actor: Actor, assignment_id: int) -> None:
    """Take a VM away; raise NotFound."""
    row = _found(s, assignment_id)
    audit.record(s, actor, "assignment.delete", _label(row), _describe(row))
    s.delete(row)


@reads
def find(s: Session, *, vm_id: int, user_id: int | None = None, group_id: int | None = None) -> Assignment | None:
    """The assignment of one VM to exactly that user or class."""
    return s.scalar(
        select(Assignment).where(
            Assignment.vm_id == vm_id,
            Assignment.user_id == user_id if user_id is not None else Assignment.user_id.is_(None),
            Assignment.group_id == group_id if group_id is not None else Assignment.group_id.is_(None),
        )
    )


@reads
def held_by(s: Session, user_ids: Collection[int]) -> dict[int, int]:
    """How many machines were given to each of those users themselves, at whatever time."""
    counted = select(Assignment.user_id, func.count()).where(Assignment.user_id.in_(user_ids))
    return {user_id or 0: number for user_id, number in s.execute(counted.group_by(Assignment.user_id))}


@reads
def for_user(s: Session, user_id: int, now: datetime) -> list[Assignment]:
    """What a user holds now, by VM name, VM and class loaded: one row per VM, the direct one before a class's."""
    mine = select(Membership.group_id).where(Membership.user_id == user_id)
    rows = joined().where(in_force(now), or_(Assignment.user_id == user_id, Assignment.group_id.in_(mine)))
    found: dict[int, Assignment] = {}
    for row in s.scalars(rows.order_by(Assignment.user_id.is_(None), Assignment.id)):
        found.setdefault(row.vm_id, row)
    return sorted(found.values(), key=lambda row: (row.vm.name, row.vm_id))


@reads
def facts(s: Session, user_id: int, vm_id: int, now: datetime) -> AccessFacts:
    """What ties that user to that VM now."""
    return facts_of(s, [(user_id, vm_id)], now)[user_id, vm_id]


@reads
def facts_of(s: Session, pairs: Iterable[tuple[int, int]], now: datetime) -> Mapping[tuple[int, int], AccessFacts]:
    """facts() for many (user id, VM id) at once, in three statements.

    Plain columns, no mapped rows: this runs for every open console, beside the loop that carries them.
    """
    wanted = set(pairs)
    held: dict[int, list[_Holding]] = defaultdict(list)
    for vm_id, user_id, group_id, via, power, reset in s.execute(_HELD, {"now": now, "vm_ids": [v for _, v in wanted]}):
        held[vm_id].append(_Holding(user_id, group_id, via, power, reset))
    classes = _classes_of(s, {user_id for user_id, _ in wanted})
    # Whose students the holders are matters to a teacher only; a class that opens its consoles is not asked.
    anybody_teaches = any(MembershipRole.TEACHER in mine.values() for mine in classes.values())
    holders = {row.user_id for rows in held.values() for row in rows if row.user_id is not None and not row.via}
    studies = _classes_of(s, holders if anybody_teaches else set())
    found: dict[tuple[int, int], AccessFacts] = {}
    for viewer, vm_id in wanted:
        mine = classes[viewer]
        teaching = {group_id for group_id, role in mine.items() if role == MembershipRole.TEACHER}
        own = [row for row in held[vm_id] if row.user_id == viewer or row.group_id in mine]
        found[viewer, vm_id] = AccessFacts(
            assigned=bool(own),
            teaches=any(
                row.group_id in teaching
                or row.via in teaching
                or any(studies[row.user_id or 0].get(group) == MembershipRole.STUDENT for group in teaching)
                for row in held[vm_id]
            ),
            can_power=any(row.can_power for row in own),
            can_reset=any(row.can_reset for row in own),
        )
    return found


@reads
def class_facts(s: Session, user_id: int, group_id: int) -> AccessFacts:
    """What ties that user to that class; an archived class is taught by nobody."""
    return AccessFacts(teaches=_classes_of(s, {user_id})[user_id].get(group_id) == MembershipRole.TEACHER)


class _Holding(NamedTuple):
    """Who holds a VM, and what they may do with it."""

    user_id: int | None
    group_id: int | None
    via: int | None
    can_power: bool
    can_reset: bool


def _classes_of(s: Session, user_ids: Collection[int]) -> dict[int, dict[int, MembershipRole]]:
    """User id -> class -> role there, without archived classes."""
    found: dict[int, dict[int, MembershipRole]] = defaultdict(dict)
    if not user_ids:
        return found
    for user_id, group_id, role in s.execute(_MEMBERSHIPS, {"user_ids": list(user_ids)}):
        found[user_id][group_id] = role
    return found


def in_force(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Whether an assignment counts at that time, among the rows of joined()."""
    return and_(or_(Assignment.starts_at.is_(None), Assignment.starts_at <= now), lasting(now))


def lasting(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """Whether it has not ended by then; it may begin later."""
    return and_(
        or_(Assignment.ends_at.is_(None), Assignment.ends_at > now),
        or_(Assignment.group_id.is_(None), Group.archived_at.is_(None)),
        or_(Assignment.via_group_id.is_(None), _Via.archived_at.is_(None)),
    )


def joined() -> Select[Assignment]:
    """Assignments with VM, user and classes loaded."""
    return (
        select(Assignment)
        .join(Assignment.vm)
        .outerjoin(Assignment.group)
        .outerjoin(Assignment.via_group.of_type(_Via))
        .options(
            contains_eager(Assignment.vm),
            contains_eager(Assignment.group),
            contains_eager(Assignment.via_group.of_type(_Via)),
            joinedload(Assignment.user),
        )
    )


def _found(s: Session, assignment_id: int) -> Assignment:
    row = get(s, assignment_id)
    if row is None:
        raise NotFound(f"assignment {assignment_id}")
    return row


def _check_times(starts_at: datetime | None, ends_at: datetime | None) -> None:
    if starts_at is not None and ends_at is not None and ends_at <= starts_at:
        raise Conflict("ends_at", "an assignment ends after it starts")


def _label(row: Assignment) -> str:
    holder = f"class {row.group.name}" if row.group is not None else row.user.username if row.user else "?"
    if row.via_group is not None:
        holder += f" for class {row.via_group.name}"
    return f"{row.vm.label} -> {holder}"


def _describe(row: Assignment) -> str:
    rights = ["open", *(["power"] if row.can_power else []), *(["reset"] if row.can_reset else [])]
    return f"{row.starts_at or '…'} – {row.ends_at or '…'}, {' '.join(rights)}"


# Asked for every console that opens, so built once: putting such a statement together costs more than running it.
_HELD = (
    select(
        Assignment.vm_id,
        Assignment.user_id,
        Assignment.group_id,
        Assignment.via_group_id,
        Assignment.can_power,
        Assignment.can_reset,
    )
    .outerjoin(Assignment.group)
    .outerjoin(Assignment.via_group.of_type(_Via))
    .where(in_force(bindparam("now", type_=UtcDateTime)), Assignment.vm_id.in_(bindparam("vm_ids", expanding=True)))
)
_MEMBERSHIPS = (
    select(Membership.user_id, Membership.group_id, Membership.role)
    .join(Group)
    .where(Group.archived_at.is_(None), Membership.user_id.in_(bindparam("user_ids", expanding=True)))
)
