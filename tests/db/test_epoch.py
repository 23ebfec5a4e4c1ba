"""The access epoch grows with what may take a right away, whoever does it and however, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from cyberlab.db import assignments, audit, consoles, epoch, groups, logins, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, AuditEvent, Group, LoginSession, Membership, Role, User, Vm, VmKind, utcnow

CLI = Actor(None, "cli")


@pytest.fixture
def filled(database: Database) -> Database:
    """User 1 with login session 1, in class 1, VM 1 assigned to them (1)."""
    with database.transaction() as s:
        anna = users.create(s, CLI, username="anna", role=Role.STUDENT, password_hash="old")
        vm = vms.create(s, CLI, cluster="pve", vmid=100, node="pve1")
        group = groups.create(s, CLI, name="NetSec")
        groups.add_member(s, CLI, group.id, anna.id)
        assignments.create(s, CLI, vm_id=vm.id, user_id=anna.id)
        logins.create(s, anna.id, address="", user_agent="", lifetime=60)
    return database


def _growth(database: Database, change: Callable[[Session], object]) -> int:
    before = database.call(epoch.current)
    with database.transaction() as s:
        change(s)
    return database.call(epoch.current) - before


RIGHTS = {"starts_at": None, "ends_at": None, "can_power": False, "can_reset": False}
GROWS: dict[str, Callable[[Session], object]] = {
    "disable a user": lambda s: users.set_active(s, CLI, 1, False),
    "change a role": lambda s: users.update(s, CLI, 1, display_name="", email=None, role=Role.TEACHER),
    "reset a password": lambda s: users.set_password(s, CLI, 1, "new"),
    "delete a user": lambda s: users.delete(s, CLI, 1),
    "add a user": lambda s: users.create(s, CLI, username="bert", role=Role.STUDENT),
    "leave a class": lambda s: groups.remove_member(s, CLI, 1, 1),
    "archive a class": lambda s: setattr(s.get_one(Group, 1), "archived_at", utcnow()),
    "end an assignment": lambda s: assignments.update(s, CLI, 1, **{**RIGHTS, "ends_at": utcnow()}),  # type: ignore[arg-type]
    "unassign": lambda s: assignments.delete(s, CLI, 1),
    "sign out": lambda s: logins.revoke(s, 1),
    "sign out everywhere": lambda s: logins.revoke_all(s, 1),
    "move a VM": lambda s: vms.moved(s, 1, "pve2"),
    "forget a VM": lambda s: vms.delete(s, CLI, 1),
    "bulk update of users": lambda s: s.execute(update(User).values(active=False)),
    "bulk delete of assignments": lambda s: s.execute(delete(Assignment)),
    "bulk delete of memberships": lambda s: s.execute(delete(Membership)),
    "bulk insert of assignments": lambda s: (
        s.execute(delete(Assignment)) and s.execute(insert(Assignment), [{"vm_id": 1, "user_id": 1}])
    ),
    "bulk update of the table itself": lambda s: s.execute(update(User.__table__).values(active=False)),  # type: ignore[arg-type]
    "bulk delete of login sessions": lambda s: s.execute(delete(LoginSession)),
    "delete without a query": lambda s: s.delete(s.get_one(Assignment, 1)),
    "inside a savepoint": lambda s: _in_savepoint(s, keep=True),
}
STAYS: dict[str, Callable[[Session], object]] = {
    "nothing": lambda s: None,
    "read": lambda s: s.get_one(User, 1),
    "edit a display name": lambda s: users.update(s, CLI, 1, display_name="A", email="a@b.c", role=Role.STUDENT),
    "rehash a password": lambda s: users.replace_hash(s, 1, "old", "new"),
    "note a sign-in": lambda s: setattr(s.get_one(User, 1), "last_login_at", utcnow()),
    "sign in": lambda s: logins.create(s, 1, address="", user_agent="", lifetime=60),
    "touch a login session": lambda s: logins.touch(s, [1], utcnow() + timedelta(seconds=9)),
    "touch it row by row": lambda s: setattr(s.get_one(LoginSession, 1), "seen_at", utcnow()),
    "purge": lambda s: logins.purge(s, utcnow() + timedelta(days=99)),
    "rename a VM": lambda s: vms.update(s, CLI, 1, name="kali-08"),
    "audit": lambda s: audit.record(s, CLI, "x"),
    "bulk delete of audit rows": lambda s: s.execute(delete(AuditEvent)),
    "open a console": lambda s: consoles.opened(s, user_id=1, vm_id=1, username="anna", vm_label="pve/100", address=""),
    "set to what it was": lambda s: setattr(s.get_one(Vm, 1), "kind", VmKind.QEMU),
}


def _in_savepoint(s: Session, *, keep: bool) -> None:
    with s.begin_nested() as nested:
        s.get_one(User, 1).active = False
        s.flush()
        if not keep:
            nested.rollback()


@pytest.mark.parametrize("name", GROWS)
def test_it_grows(filled: Database, name: str) -> None:
    assert _growth(filled, GROWS[name]) == 1


@pytest.mark.parametrize("name", STAYS)
def test_it_stays(filled: Database, name: str) -> None:
    assert _growth(filled, STAYS[name]) == 0


def test_several_changes_in_a_transaction_are_one_step(filled: Database) -> None:
    def change(s: Session) -> None:
        users.set_active(s, CLI, 1, False)
        s.flush()
        assignments.delete(s, CLI, 1)

    assert _growth(filled, change) == 1


def test_what_is_rolled_back_does_not_count(filled: Database) -> None:
    def fail(s: Session) -> None:
        users.set_active(s, CLI, 1, False)
        s.flush()
        raise LookupError

    with pytest.raises(LookupError):
        _growth(filled, fail)
    assert _growth(filled, lambda s: None) == 0


def test_a_failed_transaction_leaves_no_debt_to_the_next_in_the_same_session(filled: Database) -> None:
    before = filled.call(epoch.current)
    with filled.transaction() as s:
        _in_savepoint(s, keep=False)
        assert s.get_one(User, 1).active
    assert filled.call(epoch.current) - before in (0, 1)  # one step too many only costs a look


def test_another_process_sees_it(filled: Database, url: str) -> None:
    other = Database(url)
    try:
        before = other.call(epoch.current)
        filled.call(assignments.delete, CLI, 1)
        assert other.call(epoch.current) == before + 1
    finally:
        other.close()


def test_looking_waits_for_nobody_who_writes(filled: Database) -> None:
    """The watch looks twice a second: on SQLite it would otherwise queue for the one write lock."""
    before = filled.call(epoch.current)
    with filled.transaction() as s:
        users.set_active(s, CLI, 1, False)
        s.flush()
        assert filled.call(epoch.current) == before
    assert filled.call(epoch.current) == before + 1
