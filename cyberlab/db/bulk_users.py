"""Many accounts disabled in one go: everybody of them is out at once; with what takes it back (bulk.py)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from cyberlab.db import audit, bulk
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Stale
from cyberlab.db.models import LoginSession, User
from cyberlab.db.read_only import reads
from cyberlab.db.rows import MAX_ID
from cyberlab.db.user_filter import UserFilter
from cyberlab.phrases import Phrase

Selection: TypeAlias = Collection[int] | UserFilter


class Account(NamedTuple):
    """What is needed of one user."""

    id: int
    backend: str
    username: str
    display_name: str
    active: bool
    version: int

    @property
    def label(self) -> str:
        """How audit rows name it."""
        return f"user {self.username}" if self.backend == "local" else f"user {self.username} ({self.backend})"


@dataclass(frozen=True, slots=True)
class Plan:
    """Who would be disabled; ``yourself``: the admin who asks is never among them, so one always stays."""

    accounts: list[Account]
    disabled_already: int
    yourself: bool


@reads
def plan(s: Session, selection: Selection, asking: int | None) -> Plan:
    """Look; raise Conflict for more users than one change may concern."""
    accounts = _accounts(s, selection)
    return Plan(
        [row for row in accounts if row.active and row.id != asking],
        sum(not row.active for row in accounts),
        any(row.id == asking for row in accounts),
    )


def disable(s: Session, actor: Actor, selection: Selection, expected: int) -> int:
    """Do it; return the id of the change. Raise Stale if they are not as many as the plan said, Conflict as plan()."""
    accounts = plan(s, selection, actor.user_id).accounts
    if len(accounts) != expected:
        raise Stale
    _set(s, accounts, active=False)
    for ids in bulk.chunks(row.id for row in accounts):
        s.execute(delete(LoginSession).where(LoginSession.user_id.in_(ids)))
    audit.record_many(s, actor, "user.disable", ((row.label, "") for row in accounts))
    return bulk.record(s, actor, "users-disabled", {"disabled": [[row.id, row.version + 1] for row in accounts]})


def take_back(s: Session, actor: Actor, steps: Sequence[Any]) -> list[tuple[str, Phrase]]:
    """Enable those again whom nobody has touched since."""
    versions: dict[int, int] = dict(steps)
    there = {row.id: row for row in _accounts(s, list(versions))}
    left = [(f"user {row_id}", Phrase("it has been removed since")) for row_id in versions if row_id not in there]
    left += [
        (row.label, Phrase("it has been changed since"))
        for row in there.values()
        if row.active or row.version != versions[row.id]
    ]
    back = [row for row in there.values() if not row.active and row.version == versions[row.id]]
    _set(s, back, active=True)
    audit.record_many(s, actor, "user.enable", ((row.label, "") for row in back))
    return left


def _set(s: Session, accounts: Sequence[Account], *, active: bool) -> None:
    for some in bulk.chunks(accounts):
        s.execute(update(User), [{"id": row.id, "active": active, "version": row.version + 1} for row in some])


def _accounts(s: Session, selection: Selection) -> list[Account]:
    if isinstance(selection, UserFilter):
        rows = selection.apply(select(User)).with_only_columns(User.id)
        bulk.check_size(s.scalar(select(func.count()).select_from(rows.subquery())) or 0)
        ids: Collection[int] = list(s.scalars(rows))
    else:
        ids = {number for number in selection if 0 < number <= MAX_ID}
        bulk.check_size(len(ids))
    columns = (User.id, User.backend, User.username, User.display_name, User.active, User.version)
    found: list[Account] = []
    for some in bulk.chunks(sorted(ids)):
        locked = select(*columns).where(User.id.in_(some)).order_by(User.id).with_for_update(key_share=True)
        found += (Account(*values) for values in s.execute(locked))
    return sorted(found, key=lambda row: (row.username, row.id))
