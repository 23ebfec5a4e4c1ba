"""Classes and who is in them."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from cyberlab.db import assignments, epoch, groups, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound, Stale
from cyberlab.db.models import Membership, MembershipRole, Role, utcnow


def test_create_and_find(database: Database, actor: Actor) -> None:
    group = database.call(groups.create, actor, name=" Network security ")
    assert database.call(groups.get, group.id).name == "Network security"  # type: ignore[union-attr]
    assert [row.id for row in database.call(groups.page, search="SECURITY").rows] == [group.id]
    for name in ("", "Network security"):
        with pytest.raises(Conflict) as caught:
            database.call(groups.create, actor, name=name)
        assert caught.value.field == "name"


def test_members(database: Database, actor: Actor) -> None:
    group = database.call(groups.create, actor, name="NetSec")
    anna = database.call(users.create, actor, username="anna", role=Role.STUDENT)
    database.call(groups.add_member, actor, group.id, anna.id)
    database.call(groups.add_member, actor, group.id, anna.id, MembershipRole.TEACHER)
    with database.transaction() as s:
        assert s.scalars(select(Membership.role)).one() == MembershipRole.TEACHER
    database.call(groups.remove_member, actor, group.id, anna.id)
    database.call(groups.remove_member, actor, group.id, anna.id)
    with database.transaction() as s:
        assert s.scalars(select(Membership)).all() == []
    for ids in ((group.id, 999), (999, anna.id)):
        with pytest.raises(NotFound):
            database.call(groups.add_member, actor, *ids)


def test_counts(database: Database, actor: Actor) -> None:
    group, other = (database.call(groups.create, actor, name=name) for name in ("NetSec", "Other"))
    anna = database.call(users.create, actor, username="anna", role=Role.STUDENT)
    bert = database.call(users.create, actor, username="bert", role=Role.TEACHER)
    database.call(groups.add_member, actor, group.id, anna.id)
    database.call(groups.add_member, actor, group.id, bert.id, MembershipRole.TEACHER)
    machines = [database.call(vms.create, actor, cluster="pve", vmid=vmid, node="n") for vmid in (100, 101)]
    database.call(assignments.create, actor, vm_id=machines[0].id, group_id=group.id)
    database.call(assignments.create, actor, vm_id=machines[1].id, user_id=anna.id, via_group_id=group.id)
    found = database.call(groups.counts, [group.id, other.id])
    assert found == {group.id: groups.Counts(1, 1, 2), other.id: groups.Counts()}
    assert database.call(groups.in_force, group.id, utcnow()) == 2
    assert database.call(groups.machine_ids, group.id) == {vm.id for vm in machines}


def test_archive_and_back(database: Database, actor: Actor) -> None:
    group = database.call(groups.create, actor, name="NetSec")
    before = database.call(epoch.current)
    database.call(groups.archive, actor, group.id)
    assert database.call(epoch.current) > before  # open consoles are asked about again
    assert database.call(groups.page).rows == []
    assert database.call(groups.names) == []
    assert database.call(groups.page, archived=True).total == database.call(groups.page, archived=None).total == 1
    database.call(groups.restore, actor, group.id)
    assert database.call(groups.names) == [(group.id, "NetSec")]
    with pytest.raises(NotFound):
        database.call(groups.archive, actor, 999)


def test_rename(database: Database, actor: Actor) -> None:
    group, _ = (database.call(groups.create, actor, name=name) for name in ("NetSec", "Taken"))
    database.call(groups.rename, actor, group.id, name=" Web ", version=group.version)
    assert database.call(groups.page, search="web").total == 1
    with pytest.raises(Stale):
        database.call(groups.rename, actor, group.id, name="Mine", version=group.version)
    for name in ("Taken", "  "):
        with pytest.raises(Conflict) as caught:
            database.call(groups.rename, actor, group.id, name=name)
        assert caught.value.field == "name"


def test_remove_takes_what_hangs_on_it(database: Database, actor: Actor) -> None:
    group = database.call(groups.create, actor, name="NetSec")
    anna = database.call(users.create, actor, username="anna", role=Role.STUDENT)
    database.call(groups.add_member, actor, group.id, anna.id)
    vm = database.call(vms.create, actor, cluster="pve", vmid=100, node="n")
    database.call(assignments.create, actor, vm_id=vm.id, user_id=anna.id, via_group_id=group.id)
    database.call(groups.delete, actor, group.id)
    assert database.call(assignments.page).total == 0
    assert database.call(users.get, anna.id) is not None
    with pytest.raises(NotFound):
        database.call(groups.delete, actor, group.id)
