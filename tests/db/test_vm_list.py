"""The admin's list of machines: each filter alone and together, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cyberlab.db import assignments, groups, inventory, users, vm_list, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Role
from cyberlab.db.vm_list import Show, VmFilter, Whose
from tests.db.test_inventory import ONLINE, guest

NOW = datetime(2026, 10, 1, 8, tzinfo=UTC)


class Lab:
    """Six machines: kali is ada's, web was hers, db is a class's, spare nobody's, gone has vanished, tpl is one."""

    def __init__(self, database: Database, actor: Actor) -> None:
        self.database = database
        listed = (
            guest(100, "kali", tags=("netsec", "x%"), pool="lab"),
            guest(101, "web", node="pve2", status="stopped", tags=("net",)),
            guest(102, "db", status="paused"),
            guest(103, "spare", node="pve2", pool="lab_2"),
            guest(900, "tpl", template=True, status="stopped"),
        )
        database.call(inventory.sync, "pve", [*listed, guest(104, "gone")], NOW)
        database.call(inventory.vanish, "pve", {row.vmid for row in listed}, NOW, ONLINE)
        database.call(inventory.sync, "west", [guest(100, "west", node="w1")], NOW)
        self.ada = database.call(users.create, actor, username="ada", role=Role.STUDENT).id
        self.group = database.call(groups.create, actor, name="Networks").id
        self.ids = {vm.name: vm.id for vm in database.call(vms.page).rows}
        give = assignments.create
        self.kali = database.call(give, actor, vm_id=self.ids["kali"], user_id=self.ada).id
        database.call(give, actor, vm_id=self.ids["web"], user_id=self.ada, ends_at=NOW - timedelta(days=1))
        database.call(give, actor, vm_id=self.ids["db"], group_id=self.group)
        database.call(give, actor, vm_id=self.ids["db"], user_id=self.ada, via_group_id=self.group)
        database.call(give, actor, vm_id=self.ids["gone"], user_id=self.ada)

    def names(self, **chosen: object) -> list[str]:
        found = self.database.call(vm_list.page, VmFilter(**chosen), NOW)  # type: ignore[arg-type]
        assert found.total == len(found.rows)
        return [vm.name for vm in found.rows]


@pytest.fixture
def lab(database: Database, actor: Actor) -> Lab:
    return Lab(database, actor)


def test_filters(lab: Lab) -> None:
    assert lab.names() == ["db", "gone", "kali", "spare", "web", "west"]
    assert lab.names(search="PVE2 sp") == ["spare"]
    assert lab.names(cluster="west") == ["west"]
    assert lab.names(node="pve2") == ["spare", "web"]
    assert lab.names(pool="lab") == ["kali"]
    assert lab.names(tag="net") == ["web"]
    assert lab.names(tag="x%") == ["kali"]
    assert lab.names(tag="%") == []
    assert lab.names(state="paused") == ["db"]
    assert lab.names(group_id=lab.group) == ["db"]
    assert lab.names(show=Show.ASSIGNED) == ["db", "gone", "kali"]
    assert lab.names(show=Show.UNASSIGNED) == ["spare", "web", "west"]
    assert lab.names(show=Show.VANISHED) == ["gone"]
    assert lab.names(show=Show.TEMPLATES) == ["tpl"]
    assert lab.names(show=Show.UNASSIGNED, node="pve2", state="running") == ["spare"]
    assert lab.names(node="x' OR 1=1 --", pool="\x00") == []


def test_choices(lab: Lab) -> None:
    found = lab.database.call(vm_list.choices)
    assert (found.clusters, found.nodes, found.pools) == (["pve", "west"], ["pve1", "pve2", "w1"], ["lab", "lab_2"])
    assert found.tags == ["net", "netsec", "x%"]
    assert found.groups == [(lab.group, "Networks")]


def test_counts(lab: Lab) -> None:
    assert lab.database.call(vm_list.counts, NOW) == {
        "": 6, "running": 3, "stopped": 1, "paused": 1, "unknown": 1, "assigned": 3, "unassigned": 3, "vanished": 1,
        "templates": 1,
    }  # fmt: skip


def test_whose(lab: Lab) -> None:
    found = lab.database.call(vm_list.whose, lab.ids.values(), NOW)
    by_name = {name: found.get(vm_id) for name, vm_id in lab.ids.items()}
    assert by_name["kali"] == Whose("ada", 1)
    assert by_name["db"] is not None
    assert by_name["db"].count == 2
    assert by_name["web"] is None


def test_holders(lab: Lab) -> None:
    found = lab.database.call(vm_list.holders, lab.ids["db"])
    assert [(row.name, row.group, row.via) for row in found] == [("Networks", True, ""), ("ada", False, "Networks")]
    assert lab.database.call(vm_list.holders, lab.ids["kali"])[0].id == lab.kali


def test_what_needs_attention(lab: Lab) -> None:
    found = lab.database.call(vm_list.vanished_with_holders, NOW)
    assert (found.total, [vm.name for vm in found.rows]) == (1, ["gone"])
    assert [vm.name for vm in lab.database.call(vm_list.by_ids, [lab.ids["web"], lab.ids["kali"], 999])] == [
        "kali",
        "web",
    ]
