"""Who is in a class: memberships, given by hand or by a directory."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.errors import NotFound
from cyberlab.db.models import Group, Membership, MembershipRole, User
from cyberlab.db.page import Page, matching, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import MAX_ID, fetch


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a class; ``granted_by``: the backend whose groups put them there, "" for by hand."""

    user: User
    role: MembershipRole
    granted_by: str


@reads
def page(s: Session, group_id: int, *, search: str = "", offset: int = 0, limit: int = 50) -> Page[Member]:
    """The members of a class, teachers first, by user name."""
    users = (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.group_id == group_id, matching(User.search_text, search))
    )
    # "teacher" sorts after "student".
    found = paged(s, users, (Membership.role.desc(), User.username, User.id), offset, limit)
    ties = select(Membership).where(
        Membership.group_id == group_id, Membership.user_id.in_([user.id for user in found.rows])
    )
    tie = {row.user_id: row for row in s.scalars(ties)}
    rows = [Member(user, tie[user.id].role, tie[user.id].granted_by) for user in found.rows]
    return Page(rows, found.total, found.offset, found.limit)


@reads
def some(s: Session, group_id: int, user_ids: Collection[int]) -> list[Member]:
    """Those of the users that are in the class, by user name."""
    rows = (
        select(User, Membership)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.group_id == group_id, User.id.in_([number for number in user_ids if 0 < number <= MAX_ID]))
        .order_by(User.username, User.id)
    )
    return [Member(user, tie.role, tie.granted_by) for user, tie in s.execute(rows)]


@reads
def students(s: Session, group_id: int) -> list[User]:
    """All students of a class, by user name, without those whose account is disabled."""
    rows = (
        select(User)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.group_id == group_id, Membership.role == MembershipRole.STUDENT, User.active)
    )
    return list(s.scalars(rows.order_by(User.username, User.id)))


@reads
def classes_of(s: Session, user_id: int) -> list[tuple[Group, MembershipRole]]:
    """The classes that somebody is in, archived ones last, by name."""
    rows = (
        select(Group, Membership.role)
        .join(Membership, Membership.group_id == Group.id)
        .where(Membership.user_id == user_id)
        .order_by(Group.archived_at.is_not(None), Group.name, Group.id)
    )
    return [(group, role) for group, role in s.execute(rows)]


def add_member(
    s: Session, actor: Actor, group_id: int, user_id: int, role: MembershipRole = MembershipRole.STUDENT
) -> Membership:
    """Put a user into a class, or give one who is in it another role there; raise NotFound."""
    group, user = _both(s, group_id, user_id)
    membership = s.get(Membership, (group_id, user_id))
    if membership is None:
        membership = Membership(group_id=group_id, user_id=user_id, role=role)
        s.add(membership)
    membership.role = role
    s.flush()
    audit.record(s, actor, "group.add", f"class {group.name}", f"{user.username} as {role}")
    return membership


def add_many(s: Session, actor: Actor, group_id: int, users: Sequence[User], role: MembershipRole) -> int:
    """Put users into a class, or give those who are in it that role; return how many were changed. Raise NotFound."""
    group = _class(s, group_id)
    there = {row.user_id: row for row in s.scalars(select(Membership).where(Membership.group_id == group_id))}
    changed = 0
    for user in {user.id: user for user in users}.values():
        row = there.get(user.id)
        if row is not None and row.role == role:
            continue
        if row is None:
            s.add(Membership(group_id=group_id, user_id=user.id, role=role))
        else:
            row.role = role
        audit.record(s, actor, "group.add", f"class {group.name}", f"{user.username} as {role}")
        changed += 1
    return changed


def remove_member(s: Session, actor: Actor, group_id: int, user_id: int) -> None:
    """Take a user out of a class; nothing happens if they were not in it. Raise NotFound for either."""
    group, user = _both(s, group_id, user_id)
    membership = s.get(Membership, (group_id, user_id))
    if membership is not None:
        s.delete(membership)
        audit.record(s, actor, "group.remove", f"class {group.name}", user.username)


def remove_many(s: Session, actor: Actor, group_id: int, user_ids: Collection[int]) -> int:
    """Take users out of a class; return how many were in it. Raise NotFound for the class."""
    group = _class(s, group_id)
    gone = some(s, group_id, user_ids)
    for member in gone:
        s.delete(s.get_one(Membership, (group_id, member.user.id)))
        audit.record(s, actor, "group.remove", f"class {group.name}", member.user.username)
    return len(gone)


def _class(s: Session, group_id: int) -> Group:
    group = fetch(s, Group, group_id)
    if group is None:
        raise NotFound(f"class {group_id}")
    return group


def _both(s: Session, group_id: int, user_id: int) -> tuple[Group, User]:
    group, user = _class(s, group_id), fetch(s, User, user_id)
    if user is None:
        raise NotFound(f"user {user_id}")
    return group, user
