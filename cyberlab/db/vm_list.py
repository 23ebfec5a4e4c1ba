"""The admin's list of virtual machines: what it can be narrowed to, what there is to choose from, how many of each."""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, case, func, not_, or_, select
from sqlalchemy.orm import Session, aliased

from cyberlab.db.models import Assignment, Group, User, Vm
from cyberlab.db.page import Page, matching, paged
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean

STATES = ("running", "stopped", "paused", "unknown")


class Show(enum.StrEnum):
    """Which kind of machines; templates are listed by themselves only."""

    ALL = ""
    ASSIGNED = "assigned"
    UNASSIGNED = "unassigned"
    VANISHED = "vanished"
    TEMPLATES = "templates"


@dataclass(frozen=True, slots=True)
class VmFilter:
    """What the list is narrowed to; empty means anything."""

    search: str = ""
    cluster: str = ""
    node: str = ""
    pool: str = ""
    tag: str = ""
    state: str = ""
    group_id: int = 0
    show: Show = Show.ALL

    @property
    def narrows(self) -> bool:
        """Whether it leaves anything out but templates."""
        return self != VmFilter()


@dataclass(frozen=True, slots=True)
class Choices:
    """What the machines can be told apart by."""

    clusters: list[str]
    nodes: list[str]
    pools: list[str]
    tags: list[str]
    groups: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Whose:
    """To whom a machine is assigned, now or later: one of them, and how many there are."""

    name: str
    count: int


def _current(now: datetime) -> ColumnElement[bool]:
    return or_(Assignment.ends_at.is_(None), Assignment.ends_at > now)


def _assigned(now: datetime) -> ColumnElement[bool]:
    return select(Assignment.id).where(Assignment.vm_id == Vm.id, _current(now)).exists()


def _chosen(chosen: VmFilter, now: datetime) -> Select[Vm]:
    rows = select(Vm).where(matching(Vm.search_text, chosen.search), Vm.template.is_(chosen.show == Show.TEMPLATES))
    for column, value in ((Vm.cluster, chosen.cluster), (Vm.node, chosen.node), (Vm.pool, chosen.pool)):
        if value:
            rows = rows.where(column == clean(value, 255))
    if chosen.tag:
        rows = rows.where(Vm.tags.contains(f";{clean(chosen.tag, 128)};", autoescape=True))
    if chosen.state:
        rows = rows.where(Vm.status == clean(chosen.state, 16))
    if chosen.group_id:
        theirs = or_(Assignment.group_id == chosen.group_id, Assignment.via_group_id == chosen.group_id)
        rows = rows.where(Vm.id.in_(select(Assignment.vm_id).where(theirs)))
    if chosen.show == Show.ASSIGNED:
        rows = rows.where(_assigned(now))
    elif chosen.show == Show.UNASSIGNED:
        rows = rows.where(not_(_assigned(now)))
    elif chosen.show == Show.VANISHED:
        rows = rows.where(Vm.vanished_at.is_not(None))
    return rows


@reads
def page(s: Session, chosen: VmFilter, now: datetime, *, offset: int = 0, limit: int = 50) -> Page[Vm]:
    """Machines by name."""
    return paged(s, _chosen(chosen, now), (Vm.name, Vm.id), offset, limit)


@reads
def choices(s: Session) -> Choices:
    """What there is to choose from."""
    rows = s.execute(select(Vm.cluster, Vm.node, Vm.pool, Vm.tags).distinct()).all()
    groups = s.execute(select(Group.id, Group.name).where(Group.archived_at.is_(None)).order_by(Group.name, Group.id))
    return Choices(
        clusters=sorted({row.cluster for row in rows}),
        nodes=sorted({row.node for row in rows}),
        pools=sorted({row.pool for row in rows} - {""}),
        tags=sorted({tag for row in rows for tag in row.tags.split(";")} - {""}),
        groups=[(group_id, name) for group_id, name in groups],
    )


@reads
def counts(s: Session, now: datetime) -> dict[str, int]:
    """How many machines there are in each state and of each kind of Show ("" counts all but templates)."""
    found = dict.fromkeys((*STATES, *Show), 0)
    rows = s.execute(
        select(Vm.status, Vm.template, func.count(), func.count(Vm.vanished_at)).group_by(Vm.status, Vm.template)
    )
    for status, template, count, vanished in rows:
        if template:
            found[Show.TEMPLATES] += count
            continue
        found[status if status in STATES else "unknown"] += count
        found[Show.ALL] += count
        found[Show.VANISHED] += vanished
    assigned = select(func.count()).select_from(Vm).where(Vm.template.is_(False), _assigned(now))
    found[Show.ASSIGNED] = s.scalar(assigned) or 0
    found[Show.UNASSIGNED] = found[Show.ALL] - found[Show.ASSIGNED]
    return found


@reads
def whose(s: Session, vm_ids: Collection[int], now: datetime) -> dict[int, Whose]:
    """To whom these machines are assigned, now or later."""
    name = func.min(case((Assignment.user_id.is_not(None), User.username), else_=Group.name))
    rows = s.execute(
        select(Assignment.vm_id, name, func.count())
        .outerjoin(User, User.id == Assignment.user_id)
        .outerjoin(Group, Group.id == Assignment.group_id)
        .where(Assignment.vm_id.in_(vm_ids), _current(now))
        .group_by(Assignment.vm_id)
    )
    return {vm_id: Whose(who, count) for vm_id, who, count in rows}


@reads
def by_ids(s: Session, vm_ids: Collection[int]) -> list[Vm]:
    """Those of the machines that there are, by name."""
    return list(s.scalars(select(Vm).where(Vm.id.in_(vm_ids)).order_by(Vm.name, Vm.id)))


@reads
def of_group(s: Session, group_id: int) -> set[int]:
    """The ids of the machines that a class has, or its students for its sake."""
    theirs = or_(Assignment.group_id == group_id, Assignment.via_group_id == group_id)
    return set(s.scalars(select(Assignment.vm_id).where(theirs)))


@dataclass(frozen=True, slots=True)
class Holder:
    """One assignment of a machine, for its page."""

    id: int
    name: str
    group: bool  # it is a class's
    via: str  # the class for whose sake a user has it
    starts_at: datetime | None
    ends_at: datetime | None


@reads
def holders(s: Session, vm_id: int, limit: int = 50) -> list[Holder]:
    """Who has a machine, had it or will have it; those in force last longest come first."""
    via = aliased(Group)
    rows = s.execute(
        select(
            Assignment.id,
            func.coalesce(User.username, Group.name),
            Assignment.group_id.is_not(None),
            func.coalesce(via.name, ""),
            Assignment.starts_at,
            Assignment.ends_at,
        )
        .outerjoin(User, User.id == Assignment.user_id)
        .outerjoin(Group, Group.id == Assignment.group_id)
        .outerjoin(via, via.id == Assignment.via_group_id)
        .where(Assignment.vm_id == vm_id)
        .order_by(Assignment.ends_at.is_not(None), Assignment.ends_at.desc(), Assignment.id)
        .limit(limit)
    )
    return [Holder(*row) for row in rows]


@reads
def vanished_with_holders(s: Session, now: datetime, limit: int = 20) -> Page[Vm]:
    """Machines that are gone from their cluster while somebody has them or will have them."""
    rows = select(Vm).where(and_(Vm.vanished_at.is_not(None), _assigned(now)))
    return paged(s, rows, (Vm.name, Vm.id), 0, limit)
