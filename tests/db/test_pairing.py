"""Who gets which machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from cyberlab.db import assignments, groups, members, pairing, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.bulk import undo
from cyberlab.db.bulk_undo import UNDO
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import MembershipRole, Role
from cyberlab.db.pairing import By, Terms, Wish

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ANY_TIME = Terms()


@dataclass
class Lab:
    """A class whose students are s1 to s12, and machines called kali-1 to kali-13."""

    database: Database
    actor: Actor
    group: int
    students: dict[str, int]
    machines: dict[str, int]

    def preview(self, terms: Terms = ANY_TIME, **wish: object) -> pairing.Pairing:
        return self.database.call(
            pairing.preview,
            self.group,
            Wish(**{"machines": "kali-*", **wish}),
            terms,  # type: ignore[arg-type]
        )

    def add_machines(self, names: Iterable[str]) -> None:
        with self.database.transaction() as s:
            for name in names:
                number = 100 + len(self.machines)
                self.machines[name] = vms.create(s, self.actor, cluster="pve", vmid=number, node="n", name=name).id


@pytest.fixture
def lab(database: Database, actor: Actor) -> Lab:
    with database.transaction() as s:
        group = groups.create(s, actor, name="NetSec")
        found = [users.create(s, actor, username=f"s{n}", role=Role.STUDENT) for n in range(12, 0, -1)]
        teacher = users.create(s, actor, username="teacher", role=Role.TEACHER)
        members.add_many(s, actor, group.id, found, MembershipRole.STUDENT)
        members.add_many(s, actor, group.id, [teacher], MembershipRole.TEACHER)
    lab = Lab(database, actor, group.id, {user.username: user.id for user in found}, {})
    lab.add_machines(f"kali-{n}" for n in range(13, 0, -1))
    return lab


def _who(found: pairing.Pairing) -> list[tuple[str, str]]:
    return [(pair.vm.name, pair.user.username) for pair in found.pairs]


def test_by_order_counts_as_people_do(lab: Lab) -> None:
    found = lab.preview()
    assert _who(found) == [(f"kali-{n}", f"s{n}") for n in range(1, 13)]
    assert [vm.name for vm in found.machines] == ["kali-13"]
    assert not found.students


def test_more_students_than_machines(lab: Lab) -> None:
    found = lab.preview(machines="kali-?")
    assert len(found.pairs) == 9
    assert [user.username for user in found.students] == ["s10", "s11", "s12"]


def test_by_name(lab: Lab) -> None:
    lab.add_machines(["vm-S1", "s12.lab", "xs1", "s1x", "nobody", "meta_s1"])
    found = lab.preview(machines="*", by=By.NAME)
    assert sorted(_who(found)) == [("meta_s1", "s1"), ("s12.lab", "s12"), ("vm-S1", "s1")]
    assert len(found.students) == 10


def test_by_number(lab: Lab) -> None:
    lab.add_machines(["win-0", "win-002", "win-99999999999999999999", "win"])
    found = lab.preview(machines="win*", by=By.NUMBER)
    assert _who(found) == [("win-002", "s2")]


def test_what_is_there_already_is_left_out_or_said(lab: Lab) -> None:
    mine = {"vm_id": lab.machines["kali-1"], "user_id": lab.students["s1"], "via_group_id": lab.group}
    lab.database.call(assignments.create, lab.actor, **mine)
    lab.database.call(
        assignments.create, lab.actor, vm_id=lab.machines["kali-2"], group_id=lab.group, ends_at=NOW + DAY
    )
    # A student who came later gets the next machine; nobody's changes.
    assert _who(lab.preview())[0] == ("kali-3", "s2")
    assert _who(lab.preview(Terms(starts_at=NOW + DAY)))[0] == ("kali-2", "s2")
    found = lab.preview(free_only=False, new_only=False)
    assert [(pair.remark, pair.possible) for pair in found.pairs[:3]] == [
        (pairing.HAS_IT, False),
        ("NetSec has it in that time", True),
        (None, True),
    ]


def test_apply_and_undo(lab: Lab) -> None:
    chosen = [(pair.vm.id, pair.user.id) for pair in lab.preview().pairs]
    terms = Terms(NOW, NOW + DAY, can_power=True)
    change = lab.database.call(pairing.apply, lab.actor, lab.group, chosen, terms)
    page = lab.database.call(assignments.page)
    assert page.total == 12
    assert {(row.via_group_id, row.starts_at, row.can_power, row.can_reset) for row in page.rows} == {
        (lab.group, NOW, True, False)
    }
    with pytest.raises(Conflict):
        lab.database.call(pairing.apply, lab.actor, lab.group, chosen, terms)
    lab.database.call(undo, lab.actor, change, UNDO)
    assert lab.database.call(assignments.page).total == 0


def test_all_or_nothing(lab: Lab) -> None:
    teacher = lab.database.call(users.by_name, "teacher")
    assert teacher is not None
    good = (lab.machines["kali-1"], lab.students["s1"])
    for bad in ((999, lab.students["s2"]), (lab.machines["kali-2"], teacher.id), (2**40, 2**40)):
        with pytest.raises(Conflict):
            lab.database.call(pairing.apply, lab.actor, lab.group, [good, bad], Terms())
    with pytest.raises(NotFound):
        lab.database.call(pairing.apply, lab.actor, 999, [good], Terms())
    assert lab.database.call(assignments.page).total == 0


@pytest.mark.parametrize("machines", ["100%", "kali_1", "\\", "", "   ", "<script>"])
def test_patterns_mean_themselves(lab: Lab, machines: str) -> None:
    assert lab.preview(machines=machines + "*" if machines.strip() else machines).pairs == []
