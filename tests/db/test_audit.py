"""Audit rows: whatever comes in fits, and can be found again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from cyberlab.db import audit, users
from cyberlab.db.audit import Actor, AuditFilter
from cyberlab.db.engine import Database
from cyberlab.db.models import AuditEvent, Role

NOW = datetime(2026, 10, 1, 8, tzinfo=UTC)


def test_rows_are_newest_first_and_searchable(database: Database) -> None:
    for number, action in enumerate(("user.create", "login.failure", "login.success")):
        database.call(audit.record, Actor(None, f"user_{number}", "192.0.2.1"), action, "vm pve/100", "50%")
    assert [row.action for row in database.call(audit.page).rows] == ["login.success", "login.failure", "user.create"]
    assert database.call(audit.page, search="LOGIN pve/100").total == 2
    assert [row.actor for row in database.call(audit.page, search="r_1").rows] == ["user_1"]
    assert database.call(audit.page, search="50%").total == 3
    assert database.call(audit.page, search="51%").total == 0


def _log(database: Database) -> None:
    rows = (
        ("anna", "login.failure", "", ""),
        ("anna", "vm.start", "vm pve/100 kali", ""),
        ("root", "vm.moved", "vm pve/100 kali", "pve1 -> pve2"),
        ("root", "vmx", "vm pve/101 web", ""),
    )
    for hour, (actor, action, thing, detail) in enumerate(rows):
        database.call(_record_at, NOW + timedelta(hours=hour), actor, action, thing, detail)


def _record_at(s: Session, at: datetime, actor: str, action: str, thing: str, detail: str) -> None:
    s.add(AuditEvent(at=at, actor=actor, action=action, object=thing, detail=detail))


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, ["vmx", "vm.moved", "vm.start", "login.failure"]),
        ({"actor": "ANN"}, ["vm.start", "login.failure"]),
        ({"action": "vm."}, ["vm.moved", "vm.start"]),
        ({"action": "vm.start"}, ["vm.start"]),
        ({"object": "pve/100"}, ["vm.moved", "vm.start"]),
        ({"search": "pve2 root"}, ["vm.moved"]),
        ({"since": NOW + timedelta(hours=1), "until": NOW + timedelta(hours=2)}, ["vm.moved", "vm.start"]),
        ({"actor": "anna", "action": "vm.", "object": "kali"}, ["vm.start"]),
        ({"action": "%"}, []),
    ],
)
def test_filters(database: Database, chosen: dict[str, Any], found: list[str]) -> None:
    _log(database)
    assert [row.action for row in database.call(audit.page, AuditFilter(**chosen)).rows] == found


def test_an_export_goes_on_behind_the_last_row(database: Database) -> None:
    _log(database)
    first = database.call(audit.before, AuditFilter(), None, 3)
    rest = database.call(audit.before, AuditFilter(), first[-1].id, 3)
    assert [row.action for row in (*first, *rest)] == ["vmx", "vm.moved", "vm.start", "login.failure"]


def test_what_the_pages_ask(database: Database) -> None:
    _log(database)
    assert database.call(audit.actions) == ["login.failure", "vm.moved", "vm.start", "vmx"]
    assert database.call(audit.count, ("vm.start", "vm.moved"), NOW + timedelta(hours=2)) == 1
    newest = database.call(audit.newest, "vm.moved", "pve1")
    assert newest is not None
    assert newest.actor == "root"
    assert database.call(audit.newest, "vm.moved", "pve2") is None


def test_old_rows_are_deleted_the_oldest_first(database: Database) -> None:
    _log(database)
    assert database.call(audit.purge, NOW + timedelta(hours=2), 1) == 1
    assert database.call(audit.page, AuditFilter(action="login.failure")).total == 0
    assert database.call(audit.purge, NOW + timedelta(hours=2)) == 1
    assert database.call(audit.purge, NOW + timedelta(hours=2)) == 0
    assert database.call(audit.page).total == 2


def test_what_is_too_long_or_unprintable_is_made_to_fit(database: Database) -> None:
    database.call(audit.record, Actor(None, "a\x00\n" * 500, "x" * 99), "y" * 99, "z\udcff" * 999, "w" * 9999)
    row = database.call(audit.page).rows[0]
    assert [len(text) for text in (row.action, row.address, row.detail)] == [64, 45, 1024]
    assert "\x00" not in row.actor
    assert len(row.actor) <= 255
    assert len(row.object) <= 320


def test_who_is_deleted_is_known_by_name_alone(database: Database, actor: Actor) -> None:
    tool, anna = Actor(None, "cli"), _anna(database, actor)
    assert [database.call(audit.still_known, who) for who in (tool, anna)] == [tool, anna]
    database.call(users.delete, actor, anna.user_id or 0)
    assert database.call(audit.still_known, anna) == Actor(None, "anna", "192.0.2.1")


def test_who_is_still_known_stays_so_until_it_is_written(database: Database, actor: Actor) -> None:
    """On PostgreSQL the user could go between the look and the row, which would then be lost."""
    anna = _anna(database, actor)
    deleting = threading.Thread(target=database.call, args=(users.delete, actor, anna.user_id))
    with database.transaction() as s:
        known = audit.still_known(s, anna)
        deleting.start()
        deleting.join(0.3)
        assert deleting.is_alive(), "it waits"
        audit.record(s, known, "vm.start.done")
    deleting.join()
    (row,) = database.call(audit.page, AuditFilter(action="vm.start.done")).rows
    assert (row.actor_id, row.actor) == (None, "anna")


def _anna(database: Database, actor: Actor) -> Actor:
    return Actor(database.call(users.create, actor, username="anna", role=Role.STUDENT).id, "anna", "192.0.2.1")
