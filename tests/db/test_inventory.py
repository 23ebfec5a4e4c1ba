"""The inventory in the database: only what changed is written, and nothing that somebody decided is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from cyberlab.db import assignments, audit, epoch, inventory, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Stale
from cyberlab.db.models import Role, Vm, VmKind

NOW = datetime(2026, 10, 1, 8, tzinfo=UTC)
ONLINE = {"pve1": "online", "pve2": "online"}


def guest(vmid: int, name: str = "", **more: Any) -> Any:
    values = {
        "vmid": vmid, "kind": "qemu", "node": "pve1", "status": "running", "name": name, "lock": "", "template": False,
        "pool": "", "tags": (),
    }  # fmt: skip
    return SimpleNamespace(**(values | more))


def offline(vmid: int, node: str = "pve1") -> Any:
    """A line about a guest whose node is off: no name, no tags."""
    return guest(vmid, node=node, status="unknown")


def sync(database: Database, *guests: Any, at: datetime = NOW) -> None:
    database.call(inventory.sync, "pve", guests, at)


def vm(database: Database, vmid: int) -> Vm:
    found = database.call(vms.by_ref, "pve", vmid)
    assert found is not None
    return found


def actions(database: Database) -> list[tuple[str, str, str]]:
    return [(row.action, row.object, row.detail) for row in reversed(database.call(audit.page).rows)]


def test_new_guests_become_machines(database: Database) -> None:
    sync(
        database,
        guest(100, "kali-07", tags=("netsec", "a;b", ""), pool="lab", lock="backup"),
        guest(101, "ct", kind="lxc", node="pve2", status="stopped"),
        guest(900, "tpl", template=True, status="stopped"),
        offline(103),
    )
    kali = vm(database, 100)
    assert (kali.name, kali.status, kali.lock, kali.pool, kali.tags) == (
        "kali-07", "running", "backup", "lab", ";netsec;a b;"
    )  # fmt: skip
    assert (kali.seen_at, kali.vanished_at, kali.version) == (NOW, None, 1)
    assert (vm(database, 101).kind, vm(database, 101).node) == (VmKind.LXC, "pve2")
    assert vm(database, 900).template
    assert (vm(database, 103).name, vm(database, 103).status) == ("", "unknown")
    assert [found.vmid for found in database.call(vms.page, search="KALI pve1").rows] == [100]
    assert ("vm.found", "vm pve/100 kali-07", "qemu on pve1") in actions(database)


def test_what_proxmox_could_not_have_is_left_out(database: Database) -> None:
    sync(database, guest(99, "x"), guest(10**10, "x"), guest(105, "x", node="a/b"))
    assert database.call(vms.page).total == 0


def test_a_look_that_finds_nothing_new_writes_nothing(database: Database) -> None:
    sync(database, guest(100, "kali"))
    plan = database.call(inventory.compare, "pve", [guest(100, "kali")], NOW + timedelta(minutes=59))
    assert (plan.new, plan.changed, plan.missing) == ([], [], False)
    later = NOW + timedelta(hours=1)
    plan = database.call(inventory.compare, "pve", [guest(100, "kali")], later)
    assert len(plan.changed) == 1
    sync(database, guest(100, "kali"), at=later)
    assert vm(database, 100).seen_at == later
    assert len(actions(database)) == 1, "to have seen it again is no event"


def test_many_new_ones_are_one_audit_row(database: Database) -> None:
    sync(database, *(guest(number, f"vm-{number}") for number in range(1000, 3000)))
    assert database.call(vms.page).total == 2000
    assert actions(database) == [("vm.found", "cluster pve", "2000 machines")]


def test_changes_are_followed_and_told(database: Database) -> None:
    sync(database, guest(100, "kali"))
    sync(database, guest(100, "kali", node="pve2", status="stopped"))
    sync(database, guest(100, "kali-new", node="pve2", status="stopped"))
    sync(database, guest(100, "kali-new", node="pve2", kind="lxc", status="stopped"))
    found = vm(database, 100)
    assert (found.node, found.name, found.status, found.kind) == ("pve2", "kali-new", "stopped", VmKind.LXC)
    assert actions(database)[1:] == [
        ("vm.moved", "vm pve/100 kali", "pve1 -> pve2"),
        ("vm.renamed", "vm pve/100 kali-new", "kali -> kali-new"),
        ("vm.replaced", "vm pve/100 kali-new", "qemu kali-new -> lxc kali-new"),
    ]
    assert database.call(vms.page, search="pve2 new").total == 1


def test_nobodys_right_and_no_open_form_is_touched(database: Database, actor: Actor) -> None:
    sync(database, guest(100, "kali"))
    before = database.call(epoch.current)
    sync(database, guest(100, "new", node="pve2"), guest(101, "more"))
    database.call(inventory.vanish, "pve", {101}, NOW, ONLINE)
    database.call(inventory.lost, "pve")
    assert database.call(epoch.current) == before
    assert vm(database, 100).version == 1


def test_a_guest_of_an_offline_node_keeps_what_was_known(database: Database) -> None:
    sync(database, guest(100, "kali", tags=("netsec",), pool="lab", template=True))
    sync(database, offline(100))
    found = vm(database, 100)
    assert (found.name, found.tags, found.pool, found.template, found.status) == (
        "kali", ";netsec;", "lab", True, "unknown"
    )  # fmt: skip
    assert len(actions(database)) == 1


def test_a_name_of_the_portals_own_stays_until_it_is_given_back(database: Database, actor: Actor) -> None:
    sync(database, guest(100, "kali"))
    database.call(vms.rename, actor, vm(database, 100).id, "Anna's", 1)
    with pytest.raises(Stale):
        database.call(vms.rename, actor, vm(database, 100).id, "Bob's", 1)
    sync(database, guest(100, "kali-2", status="stopped"))
    assert (vm(database, 100).name, vm(database, 100).status) == ("Anna's", "stopped")
    database.call(vms.rename, actor, vm(database, 100).id, "", 2)
    sync(database, guest(100, "kali-2", status="stopped"))
    assert (vm(database, 100).name, vm(database, 100).renamed) == ("kali-2", False)
    assert ("vm.rename", "vm pve/100 Anna's", "was pve/100 kali") in actions(database)


def test_vanished_and_back(database: Database, actor: Actor) -> None:
    sync(database, guest(100, "kali"), guest(101, "web"))
    user = database.call(users.create, actor, username="ada", role=Role.STUDENT)
    row = database.call(assignments.create, actor, vm_id=vm(database, 100).id, user_id=user.id)
    assert database.call(inventory.compare, "pve", [guest(101, "web")], NOW).missing
    assert database.call(inventory.vanish, "pve", {101}, NOW, ONLINE) == ["pve/100 kali"]
    assert database.call(inventory.vanish, "pve", {101}, NOW + timedelta(hours=1), ONLINE) == []
    found = vm(database, 100)
    assert (found.vanished_at, found.status) == (NOW, "unknown")
    assert database.call(assignments.get, row.id) is not None
    assert not database.call(inventory.compare, "pve", [guest(101, "web")], NOW).missing
    assert database.call(inventory.counts) == {"pve": (2, 1)}
    sync(database, guest(100, "kali"), guest(101, "web"))
    assert (vm(database, 100).vanished_at, vm(database, 100).status) == (None, "running")
    assert [action for action, *_ in actions(database)][-2:] == ["vm.vanished", "vm.returned"]


def test_a_number_that_came_back_as_another_guest_is_told(database: Database) -> None:
    sync(database, guest(100, "kali"))
    database.call(inventory.vanish, "pve", set(), NOW, ONLINE)
    sync(database, guest(100, "mail-server"))
    assert ("vm.replaced", "vm pve/100 mail-server", "kali had vanished -> mail-server") in actions(database)


@pytest.mark.parametrize("state", ["offline", "unknown"])
def test_a_machine_of_a_node_that_is_away_does_not_vanish(database: Database, state: str) -> None:
    sync(database, guest(100, "kali"), guest(101, "web", node="pve2"))
    assert database.call(inventory.vanish, "pve", set(), NOW, {"pve1": state, "pve2": "online"}) == ["pve/101 web"]
    assert (vm(database, 100).vanished_at, vm(database, 100).status) == (None, "unknown")


def test_a_node_that_was_taken_out_of_the_cluster_took_its_machines_along(database: Database) -> None:
    sync(database, guest(100, "kali", node="pve9"))
    assert database.call(inventory.vanish, "pve", {101}, NOW, ONLINE) == ["pve/100 kali"]


def test_other_clusters_are_left_alone(database: Database, actor: Actor) -> None:
    other = database.call(vms.create, actor, cluster="west", vmid=100, node="w1", name="west")
    sync(database, guest(100, "kali"))
    database.call(inventory.vanish, "pve", set(), NOW, ONLINE)
    database.call(inventory.lost, "pve")
    kept = database.call(vms.get, other.id)
    assert kept is not None
    assert (kept.name, kept.vanished_at) == ("west", None)
