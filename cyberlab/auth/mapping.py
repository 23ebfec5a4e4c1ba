"""What a backend's groups mean here, pure: whether somebody is admitted, their role, their classes."""

from __future__ import annotations

from dataclasses import dataclass

from cyberlab.auth.base import Identity
from cyberlab.auth.config import GroupMapping
from cyberlab.db.models import Role

_RANK = {Role.STUDENT: 0, Role.TEACHER: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Standing:
    """What an identity's groups come to.

    ``role``: None where the mapping leaves roles to the portal's admins. ``classes``: names of classes.
    """

    admitted: bool
    role: Role | None
    classes: frozenset[str]


def standing(mapping: GroupMapping, identity: Identity) -> Standing:
    """Apply the mapping; any one of the required groups will do, and the highest of several roles wins."""
    groups = {group.strip().casefold(): group.strip() for group in identity.groups}
    required = {group.strip().casefold() for group in mapping.required_groups}
    role = None
    if mapping.roles:
        held = [role for group, role in mapping.roles.items() if group.strip().casefold() in groups]
        role = max((mapping.default_role, *held), key=_RANK.__getitem__)
    classes = {
        name
        for pattern, named in mapping.classes.items()
        for group in groups.values()
        if (name := _class(pattern, named, group))
    }
    return Standing(not required or not required.isdisjoint(groups), role, frozenset(classes))


def _class(pattern: str, name: str, group: str) -> str:
    """The class that a group gives; ``course-*`` = ``Course *`` puts what the star stands for into the name."""
    pattern, folded = pattern.strip().casefold(), group.casefold()
    if not pattern.endswith("*"):
        return name if folded == pattern else ""
    prefix = pattern[:-1]
    if not folded.startswith(prefix):
        return ""
    return name.replace("*", group[len(prefix) :]).strip()
