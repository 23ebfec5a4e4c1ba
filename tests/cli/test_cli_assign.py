"""assign and unassign, with and without a cluster to ask."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cyberlab.db import assignments, audit, vms
from cyberlab.db.engine import Database
from cyberlab.db.models import Assignment, VmKind
from cyberlab.problems import SSH_REFUSED, Problem
from tests.cli.conftest import FakeCluster, Shell, user_named


def _assignment(database: Database, name: str, vmid: int = 100) -> Assignment | None:
    vm = database.call(vms.by_ref, "pve", vmid)
    assert vm is not None
    return database.call(assignments.find, vm_id=vm.id, user_id=user_named(database, name).id)


def test_assign_with_a_node_makes_the_vm_and_asks_nobody(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    said = shell.done(
        "assign", "anna", "pve/100", "--node", "pve2", "--kind", "lxc", "--name", "kali", "--power", "--reset",
        "--from", "2026-10-01T08:00+00:00", "--until", "2026-12-18T20:00+00:00",
    )  # fmt: skip
    assert said.startswith("anna has pve/100 kali on pve2: console, power, reset, from 2026-10-01 ")
    row = _assignment(database, "anna")
    assert row is not None
    assert (row.can_power, row.can_reset) == (True, True)
    assert row.starts_at == datetime(2026, 10, 1, 8, tzinfo=UTC)
    assert row.ends_at == datetime(2026, 12, 18, 20, tzinfo=UTC)
    vm = database.call(vms.by_ref, "pve", 100)
    assert vm is not None
    assert (vm.kind, vm.node, vm.name) == (VmKind.LXC, "pve2", "kali")


def test_assign_again_changes_times_and_rights(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    shell.done("assign", "anna", "pve/100", "--node", "pve1", "--power")
    shell.done("assign", "anna", "pve/100", "--until", "2026-12-18")
    row = _assignment(database, "anna")
    assert row is not None
    assert not row.can_power
    assert row.starts_at is None
    # Until a day means until it is over, in local time.
    assert row.ends_at is not None
    assert row.ends_at.astimezone().replace(tzinfo=None) == datetime(2026, 12, 19)  # noqa: DTZ001
    assert [row.action for row in database.call(audit.page).rows][:2] == ["assignment.update", "assignment.create"]


def test_assign_refuses(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    assert "no user “bert”" in shell.refused("assign", "bert", "pve/100", "--node", "pve1")
    refusal = shell.refused("assign", "anna", "pve/100")
    assert "pve/100 is new here; say where it is with --node NODE" in refusal
    assert "PROXMOX_HOST: missing" in refusal
    assert "a node's name" in shell.refused("assign", "anna", "pve/100", "--node", "pve1; reboot")
    times = ("--from", "2026-10-02", "--until", "2026-10-01")
    assert "ends after it starts" in shell.refused("assign", "anna", "pve/100", "--node", "pve1", *times)
    assert database.call(vms.page).total == 0, "all or nothing"
    for bad in ("pve", "pve/", "/100", "pve/99", "PVE/100", "pve/100/1", "pve/1000000000", "pve/１００"):
        assert shell.run("assign", "anna", bad) == 2
        assert "is not CLUSTER/VMID" in shell.err
    for bad in ("tomorrow", "2026-13-01", ""):
        assert shell.run("assign", "anna", "pve/100", "--until", bad) == 2
        assert "is no time" in shell.err


def test_unassign(shell: Shell, database: Database) -> None:
    for name in ("anna", "bert"):
        shell.done("user", "add", name)
        shell.done("assign", name, "pve/100", "--node", "pve1")
    assert shell.done("unassign", "anna", "pve/100") == "Took pve/100 from anna.\n"
    assert _assignment(database, "anna") is None
    assert _assignment(database, "bert") is not None
    for vm in ("pve/100", "pve/101"):
        assert f"{vm} is not assigned to anna" in shell.refused("unassign", "anna", vm)
    assert "no user “carl”" in shell.refused("unassign", "carl", "pve/100")


def test_a_new_vm_is_looked_up_on_the_cluster_once(cluster: Shell) -> None:
    assert cluster.done("assign", "anna", "pve/100") == "anna has pve/100 kali-07 on pve2: console.\n"
    assert cluster.done("assign", "anna", "pve/101") == "anna has pve/101 on pve3: console.\n"
    cluster.done("assign", "anna", "pve/100", "--power")
    assert FakeCluster.closed == 2


def test_what_the_cluster_does_not_have_is_said(cluster: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.refused("assign", "anna", "pve/999") == "the cluster pve has no VM 999"
    assert "no cluster “west” is configured" in cluster.refused("assign", "anna", "west/100")
    monkeypatch.setattr(FakeCluster, "failing", Problem(SSH_REFUSED, "pve1.example.edu:22"))
    refusal = cluster.refused("assign", "anna", "pve/100")
    assert "--node NODE (the cluster cannot be asked: ssh-refused: pve1.example.edu:22)" in refusal
    assert FakeCluster.closed == 2


@pytest.fixture
def vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server in Vienna, where summer time ends on 25 October 2026."""
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_day_lasts_to_its_local_midnight_also_when_it_has_25_hours(
    vienna: None, shell: Shell, database: Database
) -> None:
    shell.done("user", "add", "anna")
    shell.done("assign", "anna", "pve/100", "--node", "pve1", "--from", "2026-10-25", "--until", "2026-10-25")
    row = _assignment(database, "anna")
    assert row is not None
    assert row.starts_at == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert row.ends_at == datetime(2026, 10, 25, 23, tzinfo=UTC)
