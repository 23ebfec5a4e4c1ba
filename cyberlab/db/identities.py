"""Users as a backend asserts them: made at the first sign-in, refreshed at each, sent away when it says so."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyberlab.db import audit, groups, logins, users
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict
from cyberlab.db.models import Group, Membership, MembershipRole, Role, User
from cyberlab.db.text import clean, normalise_username

_GROUPS_SHOWN = 200  # a directory may have thousands per person


def create(
    s: Session, actor: Actor, *, backend: str, subject: str, username: str, role: Role, mapped: bool
) -> User | None:
    """Add a user at their first sign-in; None: the name belongs to somebody else of that backend, or is none.

    ``mapped``: the role came from the backend's groups, which decide about it at each sign-in.
    """
    try:
        user = users.create(s, actor, username=username, role=role, backend=backend)
    except Conflict:
        # Two tabs, both the first: the other one's row is there now.
        return users.claim(s, backend=backend, subject=subject, username=username)
    user.subject = subject
    user.role_mapped = mapped
    return user


def refresh(
    s: Session,
    actor: Actor,
    user: User,
    *,
    username: str,
    display_name: str,
    email: str | None,
    external_groups: Collection[str],
    role: Role | None,
) -> None:
    """Take over what the backend says of a user whom claim() or create() has given, and has locked.

    ``role``: by the backend's groups, or None; it never overrides one that an admin has given here, and
    never takes the last active admin's.
    """
    user.display_name = clean(display_name, users.NAME_LIMIT) or user.display_name
    user.email = _address(email) or user.email
    user.external_groups = "\n".join(sorted(clean(group) for group in external_groups)[:_GROUPS_SHOWN])
    _rename(s, actor, user, username)
    if role is None or not user.role_mapped or role == user.role:
        return
    before = user.role
    if before == Role.ADMIN and users.only_admin(s, user.id):
        audit.record(s, actor, "user.keep-admin", f"user {user.username}", f"role {role} by {user.backend}: last admin")
        return
    user.role = role
    audit.record(s, actor, "user.update", f"user {user.username}", f"role {before} -> {role} by {user.backend}")


def enter_classes(s: Session, actor: Actor, user: User, names: Collection[str]) -> None:
    """Make the user a member of exactly these classes, as far as the backend is concerned.

    A class that does not exist is made; a membership given by hand is left alone. A teacher teaches there.
    """
    role = MembershipRole.STUDENT if user.role == Role.STUDENT else MembershipRole.TEACHER
    wanted = {group.id: group for group in (_class(s, actor, name) for name in sorted(names)) if group is not None}
    there = {row.group_id: row for row in s.scalars(select(Membership).where(Membership.user_id == user.id))}
    for group_id, row in there.items():
        if row.granted_by != user.backend:
            continue
        if group_id not in wanted:
            groups.remove_member(s, actor, group_id, user.id)
        elif row.role != role:
            groups.add_member(s, actor, group_id, user.id, role)
    for group_id in wanted.keys() - there.keys():
        groups.add_member(s, actor, group_id, user.id, role).granted_by = user.backend


def withdraw(s: Session, actor: Actor, user: User) -> None:
    """Take away what the backend gave: login sessions end, and the classes it had put the user into."""
    logins.revoke_all(s, user.id)
    enter_classes(s, actor, user, ())


def _class(s: Session, actor: Actor, name: str) -> Group | None:
    """The class of that name, made if need be; None for an archived one and a name that is none."""
    name = clean(name, 255)
    if not name:
        return None
    group = s.scalar(select(Group).where(Group.name == name))
    if group is None:
        try:
            group = groups.create(s, actor, name=name)
        except Conflict:  # made this very moment by a classmate's sign-in
            group = s.scalars(select(Group).where(Group.name == name)).one()
    return None if group.archived_at is not None else group


def _rename(s: Session, actor: Actor, user: User, username: str) -> None:
    """Follow a change of name in the directory, unless another user of it has that name here."""
    name = normalise_username(clean(username))
    if not name or name == user.username or len(name) > users.NAME_LIMIT or any(char.isspace() for char in name):
        return
    if users.by_name(s, name, user.backend) is not None:
        return
    audit.record(s, actor, "user.rename", f"user {user.username}", f"now {name}, by {user.backend}")
    user.username = name


def _address(email: str | None) -> str | None:
    """A mail address as users.update() would take it; a directory's nonsense is not worth a failed sign-in."""
    address = clean(email or "")
    fits = len(address) <= 320 and "@" in address.strip("@") and not any(char.isspace() for char in address)
    return address if fits and address else None
