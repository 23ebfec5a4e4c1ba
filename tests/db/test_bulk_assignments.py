"""Many assignments changed in one go, and taken back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from cyberlab.db import assignments, audit, bulk, epoch, groups, users, vms
from cyberlab.db import bulk_assignments as many
from cyberlab.db.assignment_filter import Filter, Rights, When
from cyberlab.db.audit import Actor
from cyberlab.db.bulk_assignments import End, Remove, Terms
from cyberlab.db.bulk_undo import UNDO
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound, Stale
from cyberlab.db.models import Assignment, Role

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Lab:
    """Three machines: one given for ever, one until tomorrow, one from tomorrow on."""

    database: Database
    actor: Actor
    user: int
    group: int
    ids: list[int]

    def rows(self) -> dict[str, Assignment]:
        with self.database.transaction() as s:
            found = s.execute(select(Assignment))
            names = {vm.id: vm.name for vm in vms.page(s).rows}
            return {names[row.vm_id]: row for (row,) in found}

    def apply(self, change: many.Change, selection: many.Selection | None = None) -> int:
        chosen = self.ids if selection is None else selection
        digest = self.database.call(many.plan, chosen, change, NOW).digest
        return self.database.call(many.apply, self.actor, chosen, change, NOW, digest)

    def undo(self, change: int) -> bulk.Done:
        self.database.call(bulk.undo, self.actor, change, UNDO)
        done = self.database.call(bulk.get, change)
        assert done is not None
        return done


@pytest.fixture
def lab(database: Database, actor: Actor) -> Lab:
    user = database.call(users.create, actor, username="anna", role=Role.STUDENT).id
    group = database.call(groups.create, actor, name="NetSec").id
    ids = []
    for number, (name, starts, ends, via) in enumerate(
        (("ever", None, None, None), ("short", NOW - DAY, NOW + DAY, group), ("later", NOW + DAY, NOW + 9 * DAY, None))
    ):
        vm = database.call(vms.create, actor, cluster="pve", vmid=100 + number, node="n", name=name)
        row = database.call(
            assignments.create, actor, vm_id=vm.id, user_id=user, via_group_id=via, starts_at=starts, ends_at=ends
        )
        ids.append(row.id)
    return Lab(database, actor, user, group, ids)


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (Filter(), {"ever", "short", "later"}),
        (Filter(when=When.NOW), {"ever", "short"}),
        (Filter(when=When.FUTURE), {"later"}),
        (Filter(when=When.ENDING), {"short"}),
        (Filter(when=When.ENDED), set()),
        (Filter(search="netsec"), {"short"}),
        (Filter(search="anna lat"), {"later"}),
        (Filter(rights=Rights.NEITHER), {"ever", "short", "later"}),
        (Filter(rights=Rights.POWER), set()),
        (Filter(group_id=2**70), set()),
    ],
)
def test_filters(lab: Lab, only: Filter, names: set[str]) -> None:
    page = lab.database.call(assignments.page, only=only, now=NOW)
    assert {row.vm.name for row in page.rows} == names
    assert page.total == len(names)


def test_filters_by_id(lab: Lab) -> None:
    find = lab.database.call
    vm = lab.rows()["ever"].vm_id
    assert find(assignments.page, only=Filter(vm_id=vm)).total == 1
    assert find(assignments.page, only=Filter(group_id=lab.group)).total == 1
    assert find(assignments.page, only=Filter(user_id=lab.user)).total == 3
    find(groups.archive, lab.actor, lab.group)
    assert find(assignments.page, only=Filter(when=When.NOW), now=NOW).total == 1


def test_what_a_class_has_is_found_by_its_members(lab: Lab) -> None:
    vm = lab.database.call(vms.create, lab.actor, cluster="pve", vmid=200, node="n", name="shared")
    lab.database.call(assignments.create, lab.actor, vm_id=vm.id, group_id=lab.group)
    assert lab.database.call(assignments.page, only=Filter(user_id=lab.user)).total == 3
    lab.database.call(groups.add_member, lab.actor, lab.group, lab.user)
    assert lab.database.call(assignments.page, only=Filter(user_id=lab.user)).total == 4


def test_end_now(lab: Lab) -> None:
    plan = lab.database.call(many.plan, lab.ids, End(NOW), NOW)
    assert [before.vm_name for before, _ in plan.changed] == ["ever", "short"]
    assert [(row.vm_name, why) for row, why in plan.refused] == [("later", many.NOT_BEGUN)]
    before = lab.database.call(epoch.current)
    change = lab.apply(End(NOW))
    assert lab.database.call(epoch.current) > before  # open consoles are asked about again
    assert [lab.rows()[name].ends_at for name in ("ever", "short", "later")] == [NOW, NOW, NOW + 9 * DAY]
    assert lab.database.call(many.plan, lab.ids, End(NOW), NOW).unchanged == 2
    done = lab.undo(change)
    assert (done.kind, done.count, done.left_count) == ("assignments-ended", 2, 0)
    assert [lab.rows()[name].ends_at for name in ("ever", "short")] == [None, NOW + DAY]


def test_other_times_and_rights(lab: Lab) -> None:
    change = Terms(ends_at=NOW + 2 * DAY, can_power=True)
    lab.apply(change)
    rows = lab.rows()
    assert {(row.ends_at, row.can_power, row.can_reset) for row in rows.values()} == {(NOW + 2 * DAY, True, False)}
    assert rows["short"].starts_at == NOW - DAY
    reversed_ = lab.database.call(many.plan, lab.ids, Terms(ends_at=NOW), NOW)
    assert [(row.vm_name, why) for row, why in reversed_.refused] == [("later", many.REVERSED)]
    lab.apply(Terms(starts_at=None, ends_at=None))
    assert all(row.starts_at is row.ends_at is None for row in lab.rows().values())


def test_removed_and_brought_back(lab: Lab) -> None:
    change = lab.apply(Remove(), Filter(when=When.NOW))
    assert set(lab.rows()) == {"later"}
    done = lab.undo(change)
    assert (done.kind, done.count, done.left) == ("assignments-removed", 2, [])
    rows = lab.rows()
    assert rows["short"].via_group_id == lab.group
    assert (rows["short"].starts_at, rows["short"].ends_at) == (NOW - DAY, NOW + DAY)
    with pytest.raises(Conflict):
        lab.undo(change)
    with pytest.raises(NotFound):
        lab.undo(999)


def test_an_undo_leaves_alone_what_was_changed_since(lab: Lab) -> None:
    change = lab.apply(Terms(can_power=True))
    lab.database.call(
        assignments.update, lab.actor, lab.ids[0], starts_at=None, ends_at=None, can_power=True, can_reset=True
    )
    lab.database.call(assignments.delete, lab.actor, lab.ids[1])
    done = lab.undo(change)
    assert done.left_count == 2
    assert {why for _, why in done.left} == {"it has been changed since", "it has been removed since"}
    rows = lab.rows()
    assert (rows["ever"].can_power, rows["later"].can_power) == (True, False)


def test_a_removal_is_not_brought_back_over_another(lab: Lab) -> None:
    change = lab.apply(Remove())
    vm = lab.database.call(vms.by_ref, "pve", 100)
    assert vm is not None
    lab.database.call(assignments.create, lab.actor, vm_id=vm.id, user_id=lab.user, can_reset=True)
    lab.database.call(groups.delete, lab.actor, lab.group)
    done = lab.undo(change)
    assert {why for _, why in done.left} == {
        "it has been assigned again since",
        "its machine, user or class has been removed since",
    }
    assert set(lab.rows()) == {"ever", "later"}


def test_made_together_and_taken_back(lab: Lab) -> None:
    with lab.database.transaction() as s:
        machines = [vms.create(s, lab.actor, cluster="b", vmid=100 + number, node="n") for number in range(600)]
    terms = {"starts_at": NOW, "ends_at": None, "can_power": True, "can_reset": False}
    holder = {"user_id": lab.user, "via_group_id": lab.group}
    wanted = [{"vm_id": vm.id} | holder | terms for vm in machines]  # more than one statement holds
    change = lab.database.call(many.make, lab.actor, wanted, "Net work")
    assert lab.database.call(assignments.page).total == 603
    with pytest.raises(Conflict):
        lab.database.call(many.make, lab.actor, wanted[:1])
    assert lab.database.call(audit.page, search="assignment.create b/").total == 600
    done = lab.undo(change)
    assert (done.kind, done.count, done.about, done.left) == ("assignments-made", 600, "Net work", [])
    assert lab.database.call(assignments.page).total == 3
    assert [row.id for row in lab.database.call(bulk.page).rows] == [change]


def test_what_has_changed_since_the_preview_is_not_changed_unseen(lab: Lab) -> None:
    digest = lab.database.call(many.plan, Filter(), Remove(), NOW).digest
    vm = lab.database.call(vms.create, lab.actor, cluster="pve", vmid=200, node="n", name="new")
    lab.database.call(assignments.create, lab.actor, vm_id=vm.id, user_id=lab.user)
    with pytest.raises(Stale):
        lab.database.call(many.apply, lab.actor, Filter(), Remove(), NOW, digest)
    assert len(lab.rows()) == 4


def test_too_many_and_nonsense(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab.database.call(many.plan, [-1, 0, 999, 2**70], Remove(), NOW).changed == []
    monkeypatch.setattr(bulk, "AT_MOST", 2)
    for selection in (Filter(), lab.ids):
        with pytest.raises(Conflict):
            lab.database.call(many.plan, selection, Remove(), NOW)
