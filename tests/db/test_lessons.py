"""A lesson that ends early, and goes on again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cyberlab.db import assignments, audit, epoch, groups, holdings, lessons, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.bulk import Done
from cyberlab.db.engine import Database
from cyberlab.db.errors import NotFound
from cyberlab.db.models import Group, MembershipRole, Role

HOUR = timedelta(hours=1)


@dataclass
class Lab:
    """A class with a student and a teacher."""

    database: Database
    student: int
    teacher: Actor
    group: Group
    other: Group
    vms: list[int]
    now: datetime

    def give(self, vm: int, *, user: int | None = None, group: int | None = None, **more: Any) -> int:
        row = self.database.call(
            assignments.create, self.teacher, vm_id=self.vms[vm], user_id=user, group_id=group, **more
        )
        return row.id

    def shown(self, later: timedelta = timedelta()) -> list[str]:
        rows = self.database.call(holdings.of_class, self.group.id, self.now + later)
        return sorted(row.vm.name for row in rows)

    def end(self) -> Done | None:
        return self.database.call(lessons.end, self.teacher, self.group, self.now)

    def offered(self, group: Group | None = None, user: int | None = None, later: timedelta = HOUR / 2) -> Done | None:
        who = user or self.teacher.user_id or 0
        return self.database.call(lessons.ended, (group or self.group).id, who, self.now + later)


@pytest.fixture
def lab(database: Database, actor: Actor) -> Lab:
    student = database.call(users.create, actor, username="anna", role=Role.STUDENT).id
    teacher = database.call(users.create, actor, username="carla", role=Role.TEACHER).id
    group = database.call(groups.create, actor, name="NetSec")
    other = database.call(groups.create, actor, name="Forensics")
    for class_id in (group.id, other.id):
        database.call(groups.add_member, actor, class_id, student)
        database.call(groups.add_member, actor, class_id, teacher, MembershipRole.TEACHER)
    made = [
        database.call(vms.create, actor, cluster="pve", vmid=100 + n, node="pve1", name=f"vm-{n}").id for n in range(5)
    ]
    lab = Lab(database, student, Actor(teacher, "carla"), group, other, made, datetime.now(UTC))
    lab.give(0, group=group.id)
    lab.give(1, user=student, via_group_id=group.id, ends_at=lab.now + HOUR)
    lab.give(2, user=student)
    lab.give(3, user=student, via_group_id=other.id)
    lab.give(4, group=group.id, starts_at=lab.now + HOUR)
    return lab


def test_what_was_for_the_class_ends(lab: Lab) -> None:
    assert lab.shown() == ["vm-0", "vm-1", "vm-2"]
    before = lab.database.call(epoch.current)
    ended = lab.end()
    assert ended is not None
    assert ended.count == 2
    assert lab.database.call(epoch.current) != before, "open consoles are looked at"
    assert lab.shown() == ["vm-2"], "given for no class's sake"
    assert lab.shown(later=HOUR) == ["vm-2", "vm-4"], "the next lesson is on"
    assert [row.detail for row in lab.database.call(audit.page, search="class.end").rows] == ["2 assignments"]
    assert lab.end() is None, "once is enough"


def test_it_goes_on_as_it_was(lab: Lab) -> None:
    ended = lab.end()
    assert ended is not None
    assert lab.offered() == ended
    done = lab.database.call(lessons.take_back, lab.teacher, lab.group, ended.id, lab.now)
    assert (done.left_count, lab.shown()) == (0, ["vm-0", "vm-1", "vm-2"])
    assert lab.shown(later=HOUR) == ["vm-0", "vm-2", "vm-4"], "with the ends that they had"
    assert lab.offered() is None
    with pytest.raises(NotFound):
        lab.database.call(lessons.take_back, lab.teacher, lab.group, ended.id, lab.now)


def test_what_somebody_has_changed_since_is_left_alone(lab: Lab, actor: Actor) -> None:
    ended = lab.end()
    assert ended is not None
    row = lab.database.call(assignments.find, vm_id=lab.vms[0], group_id=lab.group.id)
    assert row is not None
    lab.database.call(assignments.delete, actor, row.id)
    done = lab.database.call(lessons.take_back, lab.teacher, lab.group, ended.id, lab.now)
    assert (done.left_count, lab.shown()) == (1, ["vm-1", "vm-2"])


def test_it_is_offered_to_who_ended_it_for_a_while(lab: Lab) -> None:
    ended = lab.end()
    assert ended is not None
    assert lab.offered(group=lab.other) is None
    assert lab.offered(user=lab.student) is None
    assert lab.offered(later=2 * HOUR) is None
    with pytest.raises(NotFound):
        lab.database.call(lessons.take_back, lab.teacher, lab.other, ended.id, lab.now)
    with pytest.raises(NotFound):
        lab.database.call(lessons.take_back, Actor(lab.student, "anna"), lab.group, ended.id, lab.now)
    assert lab.shown() == ["vm-2"]
