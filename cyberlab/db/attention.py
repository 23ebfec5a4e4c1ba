"""What an admin should look at: counted in the database for the overview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyberlab.db import audit
from cyberlab.db.models import Assignment, Group, Membership, User, Vm
from cyberlab.db.read_only import reads
from cyberlab.db.vm_list import vanished_with_holders

SOON = timedelta(days=7)
DAY = timedelta(days=1)
FAILURES = ("login.failure", "login.factor-failure")
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Attention:
    """Each with how many there are; of machines also some to name."""

    vanished: Sequence[Vm]
    vanished_count: int
    ending: int  # assignments that end within a week
    ending_next: datetime | None
    failures: int  # sign-ins that failed within a day
    locks: int  # accounts or addresses that were locked for it
    replaced: int  # machines whose number another guest has got, within a week
    empty_classes: int  # classes without a teacher


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is of everything."""

    users: int
    groups: int
    vms: int
    assignments: int


@reads
def attention(s: Session, now: datetime) -> Attention:
    """What there is to look at."""
    vanished = vanished_with_holders(s, now, SHOWN)
    ending = s.execute(
        select(func.count(), func.min(Assignment.ends_at)).where(
            Assignment.ends_at > now, Assignment.ends_at <= now + SOON
        )
    ).one()
    taught = select(Membership.user_id).where(Membership.group_id == Group.id, Membership.role == "teacher")
    untaught = select(func.count()).select_from(Group).where(Group.archived_at.is_(None), ~taught.exists())
    return Attention(
        vanished=vanished.rows,
        vanished_count=vanished.total,
        ending=ending[0],
        ending_next=ending[1],
        failures=audit.count(s, FAILURES, now - DAY),
        locks=audit.count(s, ("login.lock",), now - DAY),
        replaced=audit.count(s, ("vm.replaced",), now - SOON),
        empty_classes=s.scalar(untaught) or 0,
    )


@reads
def totals(s: Session) -> Totals:
    """Count."""
    counted = (
        select(func.count()).select_from(User),
        select(func.count()).select_from(Group).where(Group.archived_at.is_(None)),
        select(func.count()).select_from(Vm).where(Vm.template.is_(False)),
        select(func.count()).select_from(Assignment),
    )
    return Totals(*(s.scalar(each) or 0 for each in counted))
