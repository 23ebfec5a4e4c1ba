"""VMs: one row per cluster and VMID, only values that Proxmox could have."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cyberlab.db import audit, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Vm, VmKind


def _create(database: Database, actor: Actor, vmid: int = 100, **more: Any) -> Vm:
    return database.call(
        vms.create, actor, **{"cluster": "pve", "vmid": vmid, "node": "pve1", "name": "kali-07", **more}
    )


def test_create_and_find(database: Database, actor: Actor) -> None:
    vm = _create(database, actor, kind=VmKind.LXC)
    assert vm.label == "pve/100 kali-07"
    for found in (database.call(vms.get, vm.id), database.call(vms.by_ref, "pve", 100)):
        assert found is not None
        assert (found.id, found.kind, found.node) == (vm.id, VmKind.LXC, "pve1")
    assert database.call(vms.by_ref, "other", 100) is None
    assert database.call(vms.by_ref, "pve", 10**30) is None


def test_two_clusters_may_have_the_same_vmid(database: Database, actor: Actor) -> None:
    one = _create(database, actor)
    assert _create(database, actor, cluster="west").id != one.id
    with pytest.raises(Conflict, match="pve/100 is known already"):
        _create(database, actor)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cluster", ""),
        ("cluster", "PVE"),
        ("cluster", "x" * 33),
        ("vmid", 99),
        ("vmid", 1_000_000_000),
        ("vmid", 10**30),
        ("node", ""),
        ("node", "pve1; reboot"),
        ("node", "-x"),
        ("node", "a/b"),
        ("node", "pve1\n"),
        ("node", "x" * 64),
    ],
)
def test_what_proxmox_could_not_have_is_refused(database: Database, actor: Actor, field: str, value: Any) -> None:
    with pytest.raises(Conflict) as caught:
        _create(database, actor, **{field: value})
    assert caught.value.field == field
    vm = _create(database, actor)
    with pytest.raises(Conflict) as caught:
        database.call(vms.update, actor, vm.id, **{field: value})
    assert caught.value.field == field
    assert database.call(vms.get, vm.id).label == "pve/100 kali-07"  # type: ignore[union-attr]


def test_update_changes_what_is_given(database: Database, actor: Actor) -> None:
    vm = _create(database, actor)
    _create(database, actor, 101)
    database.call(vms.update, actor, vm.id, node="pve2")
    changed = database.call(vms.update, actor, vm.id, name="kali-08")
    assert (changed.vmid, changed.node, changed.name) == (100, "pve2", "kali-08")
    with pytest.raises(Conflict, match="pve/101 is known already"):
        database.call(vms.update, actor, vm.id, vmid=101)
    database.call(vms.update, actor, vm.id, vmid=102)
    assert database.call(vms.by_ref, "pve", 100) is None
    assert database.call(vms.page, search="102 kali-08").total == 1


def test_search_and_pages(database: Database, actor: Actor) -> None:
    for vmid, name, node in ((100, "kali-07", "pve1"), (101, "kali-08", "pve2"), (102, "50%_done", "pve2")):
        _create(database, actor, vmid, name=name, node=node)
    assert [vm.name for vm in database.call(vms.page).rows] == ["50%_done", "kali-07", "kali-08"]
    assert [vm.vmid for vm in database.call(vms.page, search="KALI pve2").rows] == [101]
    assert [vm.vmid for vm in database.call(vms.page, search="%_d").rows] == [102]
    assert [vm.vmid for vm in database.call(vms.page, search="100").rows] == [100]
    assert database.call(vms.page, cluster="west").total == 0


def test_ensure_gives_what_is_known_or_makes_it(database: Database, actor: Actor) -> None:
    made = database.call(vms.ensure, actor, cluster="pve", vmid=100, node="pve1", name="kali")
    known = database.call(vms.ensure, actor, cluster="pve", vmid=100, node="pve9", name="other")
    assert (known.id, known.node, known.name) == (made.id, "pve1", "kali")


def test_ensure_by_several_at_once_makes_one(database: Database, actor: Actor) -> None:
    gate = threading.Barrier(4)

    def ensure(vmid: int) -> int:
        gate.wait(10)
        return database.call(vms.ensure, actor, cluster="pve", vmid=vmid, node="pve1").id

    with ThreadPoolExecutor(4) as pool:
        for vmid in range(100, 105):
            assert len(set(pool.map(ensure, [vmid] * 4))) == 1
    assert database.call(vms.page).total == 5


def test_moved_records_the_new_node_once(database: Database, actor: Actor) -> None:
    vm = _create(database, actor)
    database.call(vms.moved, vm.id, "pve2")
    database.call(vms.moved, vm.id, "pve2")
    database.call(vms.moved, 999, "pve2")
    rows = [row for row in database.call(audit.page).rows if row.action == "vm.moved"]
    assert [(row.actor, row.detail) for row in rows] == [("portal", "pve1 -> pve2")]
    assert database.call(vms.get, vm.id).node == "pve2"  # type: ignore[union-attr]


def test_delete(database: Database, actor: Actor) -> None:
    vm = _create(database, actor)
    database.call(vms.delete, actor, vm.id)
    assert database.call(vms.get, vm.id) is None
    for change in (lambda: database.call(vms.delete, actor, vm.id), lambda: database.call(vms.update, actor, vm.id)):
        with pytest.raises(NotFound):
            change()
    assert [row.action for row in database.call(audit.page).rows] == ["vm.delete", "vm.create"]
