"""Queries about classes. Who is in them: db/members.py."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.members import add_member, remove_member
from cyberlab.db.models import Assignment, Group, Membership, MembershipRole, utcnow
from cyberlab.db.page import Page, matching, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import add, edit, fetch
from cyberlab.db.text import clean
from cyberlab.phrases import Phrase

__all__ = [
    "Counts",
    "add_member",
    "archive",
    "counts",
    "create",
    "delete",
    "get",
    "in_force",
    "machine_ids",
    "names",
    "of_class",
    "page",
    "remove_member",
    "rename",
    "restore",
    "students_of",
]

NAME_LIMIT = 255


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is of a class; ``machines``: given to it, or to somebody for its sake, at whatever time."""

    students: int = 0
    teachers: int = 0
    machines: int = 0


@reads
def get(s: Session, group_id: int) -> Group | None:
    """The class with that id."""
    return fetch(s, Group, group_id)


@reads
def page(
    s: Session, *, search: str = "", archived: bool | None = False, offset: int = 0, limit: int = 50
) -> Page[Group]:
    """Classes by name; ``archived``: those alone, or (False) the others, or (None) both."""
    rows = select(Group).where(matching(Group.search_text, search))
    if archived is not None:
        rows = rows.where(Group.archived_at.is_not(None) if archived else Group.archived_at.is_(None))
    return paged(s, rows, (Group.name, Group.id), offset, limit)


@reads
def names(s: Session, limit: int = 500) -> list[tuple[int, str]]:
    """Id and name of the classes that are not archived, by name, for a choice in a form."""
    rows = select(Group.id, Group.name).where(Group.archived_at.is_(None)).order_by(Group.name, Group.id).limit(limit)
    return [(group_id, name) for group_id, name in s.execute(rows)]


@reads
def counts(s: Session, group_ids: Collection[int]) -> dict[int, Counts]:
    """How many are in those classes, and how many machines they have; two statements however many."""
    found: dict[int, dict[str, int]] = {group_id: {} for group_id in group_ids}
    members = (
        select(Membership.group_id, Membership.role, func.count())
        .where(Membership.group_id.in_(group_ids))
        .group_by(Membership.group_id, Membership.role)
    )
    for group_id, role, number in s.execute(members):
        found[group_id]["teachers" if role == MembershipRole.TEACHER else "students"] = number
    for column in (Assignment.group_id, Assignment.via_group_id):
        machines = select(column, func.count(Assignment.vm_id.distinct())).where(column.in_(group_ids)).group_by(column)
        for holder, number in s.execute(machines):
            if holder is not None:
                found[holder]["machines"] = found[holder].get("machines", 0) + number
    return {group_id: Counts(**numbers) for group_id, numbers in found.items()}


@reads
def in_force(s: Session, group_id: int, now: datetime) -> int:
    """How many assignments, to the class or for its sake, would end now if it were archived."""
    rows = (
        select(func.count())
        .select_from(Assignment)
        .where(
            of_class(group_id),
            or_(Assignment.starts_at.is_(None), Assignment.starts_at <= now),
            or_(Assignment.ends_at.is_(None), Assignment.ends_at > now),
        )
    )
    return s.scalar(rows) or 0


@reads
def machine_ids(s: Session, group_id: int) -> set[int]:
    """The machines that the class, or somebody for its sake, has at whatever time."""
    return set(s.scalars(select(Assignment.vm_id).where(of_class(group_id))))


def create(s: Session, actor: Actor, *, name: str) -> Group:
    """Add a class; raise Conflict for a name that is taken or empty."""
    group = Group(name=_checked_name(name))
    add(s, group, _taken(group.name))
    audit.record(s, actor, "group.create", f"class {group.name}")
    return group


def rename(s: Session, actor: Actor, group_id: int, *, name: str, version: int | None = None) -> Group:
    """Give a class another name; raise NotFound, Stale, or Conflict as create() does."""
    group = _found(s, group_id)
    name = _checked_name(name)
    edit(s, group, version)
    if s.scalar(select(Group.id).where(Group.name == name, Group.id != group_id)) is not None:
        raise _taken(name)
    before, group.name = group.name, name
    s.flush()
    audit.record(s, actor, "group.update", f"class {name}", f"was {before}" if before != name else "")
    return group


def archive(s: Session, actor: Actor, group_id: int) -> Group:
    """End a class's term: nobody has a machine for its sake any more, until it is restored. Raise NotFound."""
    group = _found(s, group_id)
    if group.archived_at is None:
        edit(s, group, None)
        group.archived_at = utcnow()
        audit.record(s, actor, "group.archive", f"class {group.name}")
    return group


def restore(s: Session, actor: Actor, group_id: int) -> Group:
    """Bring an archived class back, with all that it had; raise NotFound."""
    group = _found(s, group_id)
    if group.archived_at is not None:
        edit(s, group, None)
        group.archived_at = None
        audit.record(s, actor, "group.restore", f"class {group.name}")
    return group


def delete(s: Session, actor: Actor, group_id: int) -> None:
    """Remove a class with its memberships, and the assignments to it and for its sake; raise NotFound."""
    group = _found(s, group_id)
    numbers = counts(s, [group_id])[group_id]
    detail = f"{numbers.students} students, {numbers.teachers} teachers, {numbers.machines} machines"
    audit.record(s, actor, "group.delete", f"class {group.name}", detail)
    s.delete(group)


def of_class(group_id: Any) -> ColumnElement[bool]:
    """Whether an assignment is to that class, or to somebody for its sake."""
    return or_(Assignment.group_id == group_id, Assignment.via_group_id == group_id)


def students_of(group_id: int) -> Select[int]:
    """The ids of a class's students."""
    return select(Membership.user_id).where(Membership.group_id == group_id, Membership.role == MembershipRole.STUDENT)


def _found(s: Session, group_id: int) -> Group:
    group = fetch(s, Group, group_id)
    if group is None:
        raise NotFound(f"class {group_id}")
    return group


def _checked_name(name: str) -> str:
    name = clean(name, NAME_LIMIT)
    if not name:
        raise Conflict("name", Phrase("a class needs a name"))
    return name


def _taken(name: str) -> Conflict:
    return Conflict("name", Phrase("there already is a class “%(name)s”", name=name))
