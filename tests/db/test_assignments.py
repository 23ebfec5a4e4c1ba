"""Assignments: who holds which VM when, and what ties a viewer to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cyberlab.db import assignments, audit, groups, holdings, users, vms
from cyberlab.db.assignments import AccessFacts
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound, Stale
from cyberlab.db.models import Assignment, Group, MembershipRole, Role

NOW = datetime(2026, 10, 5, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTHING = AccessFacts()


@dataclass
class Lab:
    """Anna and Bert study in NetSec, Carla teaches it; Dora teaches Forensics, where Anna studies too."""

    database: Database
    actor: Actor
    anna: int
    bert: int
    carla: int
    dora: int
    netsec: int
    forensics: int
    vms: list[int]

    def assign(self, vm: int, *, user: int | None = None, group: int | None = None, **more: Any) -> Assignment:
        return self.database.call(
            assignments.create, self.actor, vm_id=self.vms[vm], user_id=user, group_id=group, **more
        )

    def facts(self, user: int, vm: int = 0, now: datetime = NOW) -> AccessFacts:
        return self.database.call(assignments.facts, user, self.vms[vm], now)

    def held(self, user: int, now: datetime = NOW) -> list[tuple[str, bool]]:
        rows = self.database.call(assignments.for_user, user, now)
        return [(row.vm.name, row.user_id is not None) for row in rows]


@pytest.fixture
def lab(database: Database, actor: Actor) -> Lab:
    def user(name: str, role: Role = Role.STUDENT) -> int:
        return database.call(users.create, actor, username=name, role=role, display_name=f"{name.title()} Ørsted").id

    anna, bert = user("anna"), user("bert")
    carla, dora = user("carla", Role.TEACHER), user("dora", Role.TEACHER)
    netsec = database.call(groups.create, actor, name="Network security").id
    forensics = database.call(groups.create, actor, name="Forensics").id
    for group, member, role in (
        (netsec, anna, MembershipRole.STUDENT),
        (netsec, bert, MembershipRole.STUDENT),
        (netsec, carla, MembershipRole.TEACHER),
        (forensics, anna, MembershipRole.STUDENT),
        (forensics, dora, MembershipRole.TEACHER),
    ):
        database.call(groups.add_member, actor, group, member, role)
    made = [
        database.call(vms.create, actor, cluster="pve", vmid=100 + n, node="pve1", name=name).id
        for n, name in enumerate(("kali-07", "kali-08", "metasploit"))
    ]
    return Lab(database, actor, anna, bert, carla, dora, netsec, forensics, made)


def test_a_direct_assignment_is_the_students_and_their_teachers(lab: Lab) -> None:
    lab.assign(0, user=lab.bert, can_power=True)
    assert lab.facts(lab.bert) == AccessFacts(assigned=True, can_power=True)
    assert lab.facts(lab.carla) == AccessFacts(teaches=True)
    assert lab.facts(lab.anna) == lab.facts(lab.dora) == NOTHING
    assert lab.facts(lab.bert, vm=1) == NOTHING


def test_a_student_of_two_classes_is_taught_by_both_teachers(lab: Lab) -> None:
    lab.assign(0, user=lab.anna)
    assert lab.facts(lab.carla).teaches
    assert lab.facts(lab.dora).teaches


def test_a_classs_assignment_is_everybodys_in_it(lab: Lab) -> None:
    lab.assign(0, group=lab.netsec, can_reset=True)
    assert lab.facts(lab.anna) == lab.facts(lab.bert) == AccessFacts(assigned=True, can_reset=True)
    assert lab.facts(lab.carla) == AccessFacts(assigned=True, teaches=True, can_reset=True)
    assert lab.facts(lab.dora) == NOTHING


def test_a_teachers_own_machine_is_not_taught_by_their_colleagues(lab: Lab) -> None:
    lab.database.call(groups.add_member, lab.actor, lab.netsec, lab.dora, MembershipRole.TEACHER)
    lab.assign(0, user=lab.dora)
    assert lab.facts(lab.dora) == AccessFacts(assigned=True)
    assert lab.facts(lab.carla) == NOTHING


def test_rights_add_up(lab: Lab) -> None:
    lab.assign(0, user=lab.anna, can_power=True)
    lab.assign(0, group=lab.netsec, can_reset=True)
    assert lab.facts(lab.anna) == AccessFacts(assigned=True, can_power=True, can_reset=True)
    assert lab.facts(lab.bert) == AccessFacts(assigned=True, can_reset=True)


@pytest.mark.parametrize(
    ("starts", "ends", "inside"),
    [
        (None, None, True),
        (-HOUR, HOUR, True),
        (timedelta(0), None, True),  # from is included
        (None, timedelta(0), False),  # until is not
        (HOUR, None, False),
        (None, -HOUR, False),
        (-2 * HOUR, -HOUR, False),
        (None, timedelta(microseconds=1), True),
        (timedelta(microseconds=1), None, False),
    ],
)
def test_times(lab: Lab, starts: timedelta | None, ends: timedelta | None, inside: bool) -> None:
    starts_at, ends_at = (None if delta is None else NOW + delta for delta in (starts, ends))
    lab.assign(0, user=lab.bert, starts_at=starts_at, ends_at=ends_at)
    assert lab.facts(lab.bert).assigned is inside
    assert lab.facts(lab.carla).teaches is inside
    assert bool(lab.held(lab.bert)) is inside
    (taught,) = lab.database.call(holdings.taught_by, lab.carla, NOW)
    assert bool(taught.vms) is inside


def test_times_are_instants_whatever_their_zone(lab: Lab) -> None:
    lab.assign(0, user=lab.bert, ends_at=datetime(2026, 10, 5, 10, 0, tzinfo=ZoneInfo("Europe/Vienna")))  # 08:00 UTC
    assert not lab.facts(lab.bert, now=NOW).assigned
    assert lab.facts(lab.bert, now=NOW - timedelta(seconds=1)).assigned


def test_an_archived_class_gives_nothing(lab: Lab) -> None:
    lab.assign(0, group=lab.netsec)
    lab.assign(1, user=lab.bert)
    with lab.database.transaction() as s:
        s.get_one(Group, lab.netsec).archived_at = NOW
    assert lab.facts(lab.bert) == lab.facts(lab.carla) == NOTHING
    assert lab.facts(lab.bert, vm=1).assigned
    assert lab.facts(lab.carla, vm=1) == NOTHING
    assert lab.held(lab.bert) == [("kali-08", True)]


def test_my_machines_are_one_row_each_by_name(lab: Lab) -> None:
    lab.assign(2, group=lab.forensics)
    lab.assign(0, group=lab.netsec)
    lab.assign(0, group=lab.forensics)
    lab.assign(1, group=lab.netsec)
    lab.assign(1, user=lab.anna)
    assert lab.held(lab.anna) == [("kali-07", False), ("kali-08", True), ("metasploit", False)]
    assert lab.held(lab.bert) == [("kali-07", False), ("kali-08", False)]
    assert lab.held(999) == []


def test_facts_of_many_are_those_of_each(lab: Lab) -> None:
    lab.assign(0, group=lab.netsec, can_power=True)
    lab.assign(1, user=lab.bert)
    lab.assign(2, user=lab.anna, ends_at=NOW - HOUR)
    people = (lab.anna, lab.bert, lab.carla, lab.dora, 999)
    pairs = [(user, vm) for user in people for vm in (*lab.vms, 999)]
    many = lab.database.call(assignments.facts_of, pairs, NOW)
    assert many == {pair: lab.database.call(assignments.facts, *pair, NOW) for pair in pairs}
    assert lab.database.call(assignments.facts_of, [], NOW) == {}


def test_create_refuses(lab: Lab) -> None:
    lab.assign(0, user=lab.anna)
    lab.assign(0, group=lab.netsec)
    for more, field in (
        ({"user": lab.anna}, "user_id"),
        ({"group": lab.netsec}, "group_id"),
        ({}, "user_id"),
        ({"user": lab.anna, "group": lab.netsec}, "user_id"),
        ({"user": lab.bert, "starts_at": NOW, "ends_at": NOW}, "ends_at"),
    ):
        with pytest.raises(Conflict) as caught:
            lab.assign(0, **more)  # type: ignore[arg-type]
        assert caught.value.field == field
    for more in ({"user": 999}, {"group": 999}, {"user": 2**70}):
        with pytest.raises(NotFound):
            lab.assign(0, **more)
    with pytest.raises(NotFound):
        lab.database.call(assignments.create, lab.actor, vm_id=999, user_id=lab.anna)


def test_update_and_delete(lab: Lab) -> None:
    row = lab.assign(0, user=lab.anna, starts_at=NOW)
    rights = {"can_power": True, "can_reset": True}
    with pytest.raises(Conflict):
        lab.database.call(assignments.update, lab.actor, row.id, starts_at=NOW, ends_at=NOW, **rights)
    changed = lab.database.call(assignments.update, lab.actor, row.id, starts_at=None, ends_at=NOW + HOUR, **rights)
    assert (changed.vm.name, changed.user.username) == ("kali-07", "anna")  # type: ignore[union-attr]
    assert lab.facts(lab.anna) == AccessFacts(assigned=True, can_power=True, can_reset=True)
    lab.database.call(assignments.delete, lab.actor, row.id)
    assert lab.facts(lab.anna) == NOTHING
    assert lab.database.call(assignments.get, row.id) is None
    with pytest.raises(NotFound):
        lab.database.call(assignments.delete, lab.actor, row.id)
    said = [row for row in lab.database.call(audit.page).rows if row.action.startswith("assignment.")]
    assert [row.action for row in said] == ["assignment.delete", "assignment.update", "assignment.create"]
    assert {row.object for row in said} == {"pve/100 kali-07 -> anna"}
    assert "open power reset" in said[1].detail


def test_the_list_is_searched_by_vm_user_and_class(lab: Lab) -> None:
    lab.assign(0, user=lab.anna)
    lab.assign(1, user=lab.bert)
    lab.assign(2, group=lab.netsec)

    def found(search: str) -> list[str]:
        page = lab.database.call(assignments.page, search=search)
        assert page.total == len(page.rows)
        return [row.vm.name for row in page.rows]

    assert found("") == ["kali-07", "kali-08", "metasploit"]
    assert found("ANNA") == ["kali-07"]
    assert found("ørsted kali") == ["kali-07", "kali-08"]
    assert found("network 102") == ["metasploit"]
    assert found("anna bert") == []
    assert found("%") == []
    page = lab.database.call(assignments.page, offset=1, limit=1)
    assert ([row.vm.name for row in page.rows], page.total) == (["kali-08"], 3)
    assert page.rows[0].user is not None
    assert page.rows[0].group is None


def test_what_is_for_a_classs_sake_is_seen_by_that_classs_teachers_alone(lab: Lab) -> None:
    lab.assign(0, user=lab.anna, via_group_id=lab.netsec)
    assert lab.facts(lab.anna).assigned
    assert lab.facts(lab.carla) == AccessFacts(teaches=True)
    assert lab.facts(lab.dora) == NOTHING  # Anna studies there too, but this VM is not for it
    seen = {who: lab.database.call(holdings.taught_by, who, NOW) for who in (lab.carla, lab.dora)}
    assert [list(row.vms) for row in seen[lab.carla]] == [[lab.vms[0]]]
    assert [list(row.vms) for row in seen[lab.dora]] == [[]]


def test_what_is_for_a_classs_sake_ends_with_the_class(lab: Lab) -> None:
    lab.assign(0, user=lab.anna, via_group_id=lab.netsec)
    with lab.database.transaction() as s:
        group = s.get(Group, lab.netsec)
        assert group is not None
        group.archived_at = NOW
    assert lab.facts(lab.anna) == lab.facts(lab.carla) == NOTHING
    assert lab.held(lab.anna) == []


def test_a_class_has_no_sake(lab: Lab) -> None:
    with pytest.raises(Conflict):
        lab.assign(0, group=lab.netsec, via_group_id=lab.forensics)
    with pytest.raises(NotFound):
        lab.assign(0, user=lab.anna, via_group_id=999)


def test_who_teaches_a_class(lab: Lab) -> None:
    def teaches(user: int, group: int) -> bool:
        return lab.database.call(assignments.class_facts, user, group).teaches

    assert teaches(lab.carla, lab.netsec)
    assert not teaches(lab.carla, lab.forensics)
    assert not teaches(lab.anna, lab.netsec)
    with lab.database.transaction() as s:
        group = s.get(Group, lab.netsec)
        assert group is not None
        group.archived_at = NOW
    assert not teaches(lab.carla, lab.netsec)


def test_of_two_who_edit_the_second_is_told(lab: Lab) -> None:
    row = lab.assign(0, user=lab.anna)

    def save(version: int | None, *, can_power: bool) -> Assignment:
        return lab.database.call(
            assignments.update, lab.actor, row.id,
            starts_at=None, ends_at=None, can_power=can_power, can_reset=False, version=version,
        )  # fmt: skip

    assert save(1, can_power=True).version == 2
    with pytest.raises(Stale):
        save(1, can_power=False)
    kept = lab.database.call(assignments.get, row.id)
    assert kept is not None
    assert (kept.can_power, kept.version) == (True, 2)
    assert save(None, can_power=False).version == 3
