"""What the overview counts, and what the health page says of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cyberlab.db import assignments, audit, groups, inventory, users, vms
from cyberlab.db.attention import attention, totals
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.facts import facts
from cyberlab.db.models import MembershipRole, Role, utcnow
from tests.db.test_inventory import ONLINE, guest


def test_an_empty_portal_needs_nobody(database: Database) -> None:
    seen = database.call(attention, utcnow())
    assert (seen.vanished_count, seen.ending, seen.failures, seen.locks, seen.replaced, seen.empty_classes) == (0,) * 6
    assert seen.ending_next is None
    found = database.call(totals)
    assert (found.users, found.groups, found.vms, found.assignments) == (0, 0, 0, 0)


def test_what_there_is_to_look_at(database: Database, actor: Actor) -> None:
    now = utcnow()
    database.call(inventory.sync, "pve", [guest(100, "kali"), guest(101, "web"), guest(900, "t", template=True)], now)
    kali, web, _ = (vm.id for vm in database.call(vms.page).rows[:1] + database.call(vms.page, search="web").rows * 2)
    ada = database.call(users.create, actor, username="ada", role=Role.TEACHER).id
    taught = database.call(groups.create, actor, name="taught").id
    database.call(groups.add_member, actor, taught, ada, MembershipRole.TEACHER)
    database.call(groups.create, actor, name="untaught")
    soon = (now + timedelta(days=2)).replace(microsecond=0)
    database.call(assignments.create, actor, vm_id=kali, user_id=ada, ends_at=soon)
    database.call(assignments.create, actor, vm_id=web, user_id=ada, ends_at=now + timedelta(days=8))
    database.call(inventory.vanish, "pve", {101, 900}, now, ONLINE)
    for action in ("login.failure", "login.factor-failure", "login.lock", "vm.replaced", "login.success"):
        database.call(audit.record, actor, action)
    seen = database.call(attention, utcnow())
    assert [vm.name for vm in seen.vanished] == ["kali"]
    assert (seen.vanished_count, seen.ending, seen.ending_next) == (1, 1, soon)
    assert (seen.failures, seen.locks, seen.replaced, seen.empty_classes) == (2, 1, 1, 1)
    later = database.call(attention, utcnow() + timedelta(days=30))
    assert (later.failures, later.ending, later.vanished_count) == (0, 0, 0)
    found = database.call(totals)
    assert (found.users, found.groups, found.vms, found.assignments) == (1, 2, 2, 2)


def test_the_database_says_what_it_is(database: Database) -> None:
    found = database.call(facts)
    assert found.kind == {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database.dialect]
    assert found.version[0].isdigit()
    assert found.size > 100_000
    assert found.revision.startswith("00")


def test_times_are_utc(database: Database, actor: Actor) -> None:
    seen = database.call(attention, datetime(2026, 1, 1, tzinfo=UTC))
    assert seen.ending_next is None
