"""Queries about classes and who is in them."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Group, Membership, MembershipRole, User
from cyberlab.db.page import Page, matching, paged
from cyberlab.db.read_only import reads
from cyberlab.db.rows import add, fetch
from cyberlab.db.text import clean
from cyberlab.phrases import Phrase


@reads
def get(s: Session, group_id: int) -> Group | None:
    """The class with that id."""
    return fetch(s, Group, group_id)


@reads
def page(s: Session, *, search: str = "", offset: int = 0, limit: int = 50) -> Page[Group]:
    """Classes by name, without the archived ones."""
    rows = select(Group).where(matching(Group.search_text, search), Group.archived_at.is_(None))
    return paged(s, rows, (Group.name, Group.id), offset, limit)


def create(s: Session, actor: Actor, *, name: str) -> Group:
    """Add a class; raise Conflict for a name that is taken or empty."""
    name = clean(name, 255)
    if not name:
        raise Conflict("name", "a class needs a name")
    group = Group(name=name)
    add(s, group, Conflict("name", Phrase("there already is a class “%(name)s”", name=name)))
    audit.record(s, actor, "group.create", f"class {name}")
    return group


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


def remove_member(s: Session, actor: Actor, group_id: int, user_id: int) -> None:
    """Take a user out of a class; nothing happens if they were not in it. Raise NotFound for either."""
    group, user = _both(s, group_id, user_id)
    membership = s.get(Membership, (group_id, user_id))
    if membership is not None:
        s.delete(membership)
        audit.record(s, actor, "group.remove", f"class {group.name}", user.username)


def _both(s: Session, group_id: int, user_id: int) -> tuple[Group, User]:
    group, user = fetch(s, Group, group_id), fetch(s, User, user_id)
    if group is None:
        raise NotFound(f"class {group_id}")
    if user is None:
        raise NotFound(f"user {user_id}")
    return group, user
