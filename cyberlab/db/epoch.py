"""The access epoch: one counter that grows with every change that may take a right away.

Bumped by the session itself, so that no query can forget it: by whatever a flush writes, and by bulk
UPDATE and DELETE statements. Only SQL sent as text goes past it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, inspect, select, update
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

from cyberlab.db import read_only
from cyberlab.db.models import AccessEpoch, Assignment, Base, Group, LoginSession, Membership, User, Vm
from cyberlab.db.read_only import reads

# A watched class, and those of its columns whose change touches nobody's rights.
_WATCHED: dict[type[Base], frozenset[str]] = {
    User: frozenset(
        {
            "last_login_at",
            "password_hash",
            "display_name",
            "email",
            "search_text",
            "subject",
            "username",
            "role_mapped",
            "external_groups",
            "factor_grace_until",
            "language",
            "time_zone",
            "version",
        }
    ),
    Group: frozenset({"name", "search_text", "version"}),
    Membership: frozenset({"granted_by"}),
    Assignment: frozenset({"version"}),
    LoginSession: frozenset({"seen_at"}),
    Vm: frozenset(
        {
            "name",
            "search_text",
            "status",
            "lock",
            "pool",
            "tags",
            "template",
            "seen_at",
            "vanished_at",
            "reset_snapshot",
            "renamed",
            "version",
        }
    ),
}
_TABLES = {kind.__tablename__ for kind in _WATCHED}
_BUMP = "access-epoch-bump"


class PortalSession(Session):
    """A database session that bumps the access epoch in the transaction of the change."""


@reads
def current(s: Session) -> int:
    """The epoch's value; compare for inequality only."""
    return s.scalar(select(AccessEpoch.value).where(AccessEpoch.id == 1)) or 0


def _matters(row: Any) -> bool:
    harmless = _WATCHED.get(type(row))
    if harmless is None:
        return False
    state = inspect(row)
    return any(
        attribute.key not in harmless and state.attrs[attribute.key].history.has_changes()
        for attribute in state.mapper.column_attrs
    )


@event.listens_for(PortalSession, "before_flush")
def _before_flush(s: Session, context: UOWTransaction, instances: object) -> None:
    if s.new or s.deleted or any(s.is_modified(row) for row in s.dirty):
        read_only.check(s)
    # A new login session takes nothing from anybody; without the exception, a class that signs in
    # at nine o'clock would have every open console re-authorized once per student.
    if (
        any(type(row) in _WATCHED and not isinstance(row, LoginSession) for row in s.new)
        or any(type(row) in _WATCHED for row in s.deleted)
        or any(_matters(row) for row in s.dirty)
    ):
        s.info[_BUMP] = True


@event.listens_for(PortalSession, "do_orm_execute")
def _on_execute(state: ORMExecuteState) -> None:
    statement: Any = state.statement
    if not (state.is_insert or state.is_update or state.is_delete):
        return
    read_only.check(state.session)
    harmless = state.execution_options.get("access_epoch") is False
    if getattr(statement.table, "name", None) in _TABLES and not harmless:
        state.session.info[_BUMP] = True


@event.listens_for(PortalSession, "before_commit")
def _before_commit(s: Session) -> None:
    if s.in_nested_transaction():
        return
    s.flush()
    # Last of all, so that the one row everybody bumps is locked briefly and never before another lock.
    if s.info.pop(_BUMP, False):
        s.execute(update(AccessEpoch).where(AccessEpoch.id == 1).values(value=AccessEpoch.value + 1))


@event.listens_for(PortalSession, "after_rollback")
def _after_rollback(s: Session) -> None:
    s.info.pop(_BUMP, None)
