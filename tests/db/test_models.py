"""Times are UTC and aware on both databases, constraints hold without the queries' help."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import UniqueConstraint, select
from sqlalchemy.exc import IntegrityError, StatementError

from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, Base, ConsoleSession, Group, LoginSession, User, Vm


def test_a_time_comes_back_aware_and_in_utc(database: Database) -> None:
    local = datetime(2026, 10, 1, 8, 0, tzinfo=timezone(timedelta(hours=2)))
    with database.transaction() as s:
        s.add(Group(name="NetSec", archived_at=local))
    with database.transaction() as s:
        assert s.scalars(select(Group.archived_at)).one() == datetime(2026, 10, 1, 6, 0, tzinfo=UTC)
        assert s.scalars(select(Group.name).where(Group.archived_at <= local)).one() == "NetSec"
        assert s.scalars(select(Group.name).where(Group.archived_at < local)).all() == []


def test_a_naive_time_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="naive time"), database.transaction() as s:
        s.add(Group(name="NetSec", archived_at=datetime(2026, 10, 1)))  # noqa: DTZ001


@pytest.mark.parametrize(
    "row",
    [
        lambda user, vm: Assignment(vm_id=vm),
        lambda user, vm: Assignment(vm_id=vm, user_id=999),
        lambda user, vm: Assignment(vm_id=vm, user_id=user, group_id=1),
        lambda user, vm: Assignment(
            vm_id=vm,
            user_id=user,
            starts_at=datetime(2026, 10, 2, tzinfo=UTC),
            ends_at=datetime(2026, 10, 1, tzinfo=UTC),
        ),
        lambda user, vm: Vm(cluster="pve", vmid=99, node="pve1"),
        lambda user, vm: Vm(cluster="pve", vmid=100, node="pve2"),
        lambda user, vm: LoginSession(user_id=999, token_hash="0" * 64, expires_at=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_database_refuses(database: Database, row: object) -> None:
    with database.transaction() as s:
        user, vm = User(username="anna"), Vm(cluster="pve", vmid=100, node="pve1")
        s.add_all([user, vm, Group(id=1, name="NetSec")])
        s.flush()
        ids = (user.id, vm.id)
    with pytest.raises(IntegrityError), database.transaction() as s:
        s.add(row(*ids))  # type: ignore[operator]


def test_a_console_may_carry_more_than_two_gigabytes(database: Database) -> None:
    with database.transaction() as s:
        s.add(ConsoleSession(username="anna", vm_label="pve/100", bytes_to_client=5_000_000_000))
    with database.transaction() as s:
        assert s.scalars(select(ConsoleSession.bytes_to_client)).one() == 5_000_000_000


def test_every_foreign_key_has_an_index() -> None:
    """Else a deletion, or a page of somebody's rows, reads the whole table."""
    for table in Base.metadata.sorted_tables:
        indexed = [*table.indexes, *(item for item in table.constraints if isinstance(item, UniqueConstraint))]
        leading = {next(iter(index.columns)).name for index in [*indexed, table.primary_key]}
        for key in table.foreign_keys:
            assert key.parent.name in leading, f"{table.name}.{key.parent.name}"
