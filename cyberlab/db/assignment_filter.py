"""Which assignments are meant: by words, class, user, machine, time and rights."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, not_, or_, select

from cyberlab.db.models import Assignment, Group, Membership, User, Vm
from cyberlab.db.rows import MAX_ID
from cyberlab.db.text import search_words

SOON = timedelta(days=7)


class When(enum.StrEnum):
    """How an assignment stands in time."""

    NOW = "now"  # in force
    FUTURE = "future"
    ENDED = "ended"
    ENDING = "ending"  # in force, but within a week no more


class Rights(enum.StrEnum):
    """What an assignment allows beside opening the console."""

    POWER = "power"
    RESET = "reset"
    NEITHER = "open"


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is given has to hold. ``user_id``: who has it, also as a member of a class that does."""

    search: str = ""
    group_id: int | None = None  # the class that has it, or for whose sake somebody does
    user_id: int | None = None
    vm_id: int | None = None
    when: When | None = None
    rights: Rights | None = None

    def apply(self, rows: Select[Assignment], now: datetime) -> Select[Assignment]:
        """Those of the ``rows`` that are meant."""
        return rows.where(*self._conditions(now))

    def _conditions(self, now: datetime) -> Iterator[ColumnElement[bool]]:
        yield from (_said(word) for word in search_words(self.search))
        if self.group_id is not None:
            group_id = _known(self.group_id)
            yield or_(Assignment.group_id == group_id, Assignment.via_group_id == group_id)
        if self.user_id is not None:
            user_id = _known(self.user_id)
            theirs = select(Membership.group_id).where(Membership.user_id == user_id)
            yield or_(Assignment.user_id == user_id, Assignment.group_id.in_(theirs))
        if self.vm_id is not None:
            yield Assignment.vm_id == _known(self.vm_id)
        if self.when is not None:
            yield _stands(self.when, now)
        if self.rights is Rights.NEITHER:
            yield and_(not_(Assignment.can_power), not_(Assignment.can_reset))
        elif self.rights is not None:
            yield (Assignment.can_power if self.rights is Rights.POWER else Assignment.can_reset).is_(True)


def _known(row_id: int) -> int:
    """The id, or one that no row has: what comes from an address may be larger than any database's integer."""
    return row_id if 0 < row_id <= MAX_ID else 0


def _said(word: str) -> ColumnElement[bool]:
    groups = select(Group.id).where(Group.search_text.contains(word, autoescape=True))
    return or_(
        Assignment.vm_id.in_(select(Vm.id).where(Vm.search_text.contains(word, autoescape=True))),
        Assignment.user_id.in_(select(User.id).where(User.search_text.contains(word, autoescape=True))),
        Assignment.group_id.in_(groups),
        Assignment.via_group_id.in_(groups),
    )


def _stands(when: When, now: datetime) -> ColumnElement[bool]:
    if when is When.FUTURE:
        return Assignment.starts_at > now
    if when is When.ENDED:
        return Assignment.ends_at <= now
    archived = select(Group.id).where(Group.archived_at.is_not(None))
    in_force = and_(
        or_(Assignment.starts_at.is_(None), Assignment.starts_at <= now),
        or_(Assignment.ends_at.is_(None), Assignment.ends_at > now),
        or_(Assignment.group_id.is_(None), Assignment.group_id.not_in(archived)),
        or_(Assignment.via_group_id.is_(None), Assignment.via_group_id.not_in(archived)),
    )
    return in_force if when is When.NOW else and_(in_force, Assignment.ends_at <= now + SOON)
