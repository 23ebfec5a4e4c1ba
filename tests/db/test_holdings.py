"""What people hold: a student's machines, a class's, and the end of a lesson."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from cyberlab.db import assignments, audit, consoles, epoch, groups, holdings, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Group, MembershipRole, Role

NOW = datetime(2026, 10, 5, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Lab:
    """Anna and Bert study in NetSec, which Carla teaches; Anna studies in Forensics as well."""

    database: Database
    actor: Actor
    anna: int
    bert: int
    carla: int
    netsec: int
    forensics: int
    vms: list[int]

    def give(self, vm: int, *, user: int | None = None, group: int | None = None, **more: Any) -> int:
        row = self.database.call(
            assignments.create, self.actor, vm_id=self.vms[vm], user_id=user, group_id=group, **more
        )
        return row.id

    def of_class(self, group: int | None = None, now: datetime = NOW) -> list[tuple[str, str | None]]:
        rows = self.database.call(holdings.of_class, group or self.netsec, now)
        return [(row.vm.name, row.user.username if row.user else None) for row in rows]

    def archive(self, group: int) -> None:
        with self.database.transaction() as s:
            row = s.get(Group, group)
            assert row is not None
            row.archived_at = NOW


@pytest.fixture
def lab(database: Database, actor: Actor) -> Lab:
    def user(name: str, role: Role = Role.STUDENT) -> int:
        return database.call(users.create, actor, username=name, role=role, display_name=name.title()).id

    anna, bert, carla = user("anna"), user("bert"), user("carla", Role.TEACHER)
    netsec = database.call(groups.create, actor, name="NetSec").id
    forensics = database.call(groups.create, actor, name="Forensics").id
    for group, member, role in (
        (netsec, anna, MembershipRole.STUDENT),
        (netsec, bert, MembershipRole.STUDENT),
        (netsec, carla, MembershipRole.TEACHER),
        (forensics, anna, MembershipRole.STUDENT),
    ):
        database.call(groups.add_member, actor, group, member, role)
    made = [
        database.call(vms.create, actor, cluster="pve", vmid=100 + n, node="pve1", name=f"vm-{n}").id for n in range(5)
    ]
    return Lab(database, actor, anna, bert, carla, netsec, forensics, made)


def test_one_row_a_machine_with_the_best_of_its_assignments(lab: Lab) -> None:
    lab.give(0, user=lab.anna, ends_at=NOW + HOUR, can_power=True)
    lab.give(0, group=lab.netsec, ends_at=NOW + 2 * HOUR, can_reset=True)
    lab.give(1, group=lab.forensics)
    first, second = lab.database.call(holdings.of_user, lab.anna, NOW)
    assert (first.vm.name, first.can_power, first.can_reset, first.ends_at) == ("vm-0", True, True, NOW + 2 * HOUR)
    assert (second.class_name, second.ends_at, second.can_power) == ("Forensics", None, False)
    assert [row.vm.name for row in lab.database.call(holdings.of_user, lab.bert, NOW)] == ["vm-0"]


def test_what_begins_later_comes_last_and_gives_no_right_yet(lab: Lab) -> None:
    lab.give(0, user=lab.anna, starts_at=NOW + 2 * HOUR)
    lab.give(1, user=lab.anna, starts_at=NOW + HOUR, can_power=True)
    lab.give(2, user=lab.anna)
    lab.give(2, group=lab.netsec, starts_at=NOW + HOUR, can_power=True)
    lab.give(3, user=lab.anna, ends_at=NOW)
    rows = lab.database.call(holdings.of_user, lab.anna, NOW)
    assert [(row.vm.name, row.starts_at) for row in rows] == [
        ("vm-2", None), ("vm-1", NOW + HOUR), ("vm-0", NOW + 2 * HOUR),
    ]  # fmt: skip
    assert rows[0].can_power is False, "the class's begins later"


def test_an_archived_class_takes_its_machines_along(lab: Lab) -> None:
    lab.give(0, group=lab.netsec)
    lab.give(1, user=lab.anna, via_group_id=lab.netsec)
    lab.give(2, user=lab.anna, via_group_id=lab.forensics)
    lab.archive(lab.netsec)
    assert [row.vm.name for row in lab.database.call(holdings.of_user, lab.anna, NOW)] == ["vm-2"]
    assert lab.of_class() == []
    assert lab.database.call(holdings.taught_by, lab.carla, NOW) == []


def test_a_class_has_its_own_its_students_and_those_of_nobodys_sake(lab: Lab) -> None:
    lab.give(0, group=lab.netsec)
    lab.give(1, user=lab.bert, via_group_id=lab.netsec)
    lab.give(2, user=lab.anna)
    lab.give(3, user=lab.anna, via_group_id=lab.forensics)
    lab.give(4, user=lab.carla)
    assert lab.of_class() == [("vm-2", "anna"), ("vm-1", "bert"), ("vm-0", None)]
    assert lab.of_class(lab.forensics) == [("vm-2", "anna"), ("vm-3", "anna")]
    (taught,) = lab.database.call(holdings.taught_by, lab.carla, NOW)
    assert (taught.group.name, taught.students) == ("NetSec", 2)
    assert {vm.name for vm in taught.vms.values()} == {"vm-0", "vm-1", "vm-2"}


def test_what_a_class_shows_is_what_its_teacher_may_act_on(lab: Lab) -> None:
    lab.give(0, group=lab.netsec)
    lab.give(1, user=lab.bert, via_group_id=lab.netsec)
    lab.give(2, user=lab.anna)
    lab.give(3, user=lab.anna, via_group_id=lab.forensics)
    shown = {row.vm_id for row in lab.database.call(holdings.of_class, lab.netsec, NOW)}
    for vm_id in lab.vms:
        assert lab.database.call(assignments.facts, lab.carla, vm_id, NOW).teaches == (vm_id in shown)


def test_pages_cost_the_same_for_one_machine_and_for_many(lab: Lab) -> None:
    statements: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith(("BEGIN", "SET")):
            statements.append(statement)

    try:
        costs = []
        for number in range(3):
            lab.give(number, user=lab.anna, via_group_id=lab.netsec)
            statements.clear()
            lab.database.call(holdings.of_class, lab.netsec, NOW)
            lab.database.call(holdings.taught_by, lab.carla, NOW)
            lab.database.call(holdings.of_user, lab.anna, NOW)
            costs.append(len(statements))
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert costs == [5, 5, 5]


def test_last_used_is_about_the_people_who_are_asked_about(lab: Lab) -> None:
    for user in (lab.anna, lab.carla):
        row = lab.database.call(consoles.opened, user_id=user, vm_id=lab.vms[0], username="x", vm_label="x", address="")
        lab.database.call(consoles.closed, row, bytes_to_client=0, bytes_to_upstream=0, end_reason="closed")
    found = lab.database.call(holdings.last_used, lab.vms, [lab.anna])
    assert list(found) == [lab.vms[0]]
    assert found[lab.vms[0]].tzinfo is not None
    assert lab.database.call(holdings.last_used, lab.vms, [lab.bert]) == {}


def test_a_named_snapshot_takes_nothing_from_anybody(lab: Lab) -> None:
    before = lab.database.call(epoch.current)
    lab.database.call(holdings.name_snapshot, lab.actor, lab.vms[:2], "lesson-3")
    assert lab.database.call(epoch.current) == before
    named = [lab.database.call(vms.get, vm_id) for vm_id in lab.vms[:3]]
    assert [vm.reset_snapshot for vm in named if vm] == ["lesson-3", "lesson-3", ""]
    rows = lab.database.call(audit.page, search="vm.snapshot").rows
    assert [row.detail for row in rows] == ["resets to lesson-3"] * 2
