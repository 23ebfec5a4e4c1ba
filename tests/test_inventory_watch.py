"""The watch over the clusters' inventories, look by look."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cyberlab import inventory_watch
from cyberlab.db import vms
from cyberlab.db.engine import Database
from cyberlab.db.models import Vm
from cyberlab.inventory_watch import ClusterWatch
from cyberlab.problems import SSH_REFUSED, Problem
from cyberlab.proxmox.inventory import Inventory
from tests.web import FakeCluster, resource


class Lab:
    """A database, a cluster, and how often it was asked."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.asked = 0
        lab = self

        class Counting(FakeCluster):
            async def resources(self, max_age: float) -> Inventory:
                lab.asked += 1
                return await super().resources(max_age)

        self.cluster = Counting(found=[resource(100, "kali"), resource(101, "web", node="pve2")])
        self.watch = ClusterWatch(database, self.cluster)  # type: ignore[arg-type]

    def vm(self, vmid: int) -> Vm:
        found = self.database.call(vms.by_ref, "pve", vmid)
        assert found is not None
        return found

    def newer(self) -> None:
        """What somebody's page has asked for meanwhile."""
        self.cluster.as_of += timedelta(seconds=10)
        self.cluster.last_inventory = Inventory(self.cluster.as_of, {row.vmid: row for row in self.cluster.found})


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    database.upgrade()
    yield Lab(database)
    database.close()


@pytest.mark.gen_test
async def test_it_asks_by_itself_and_not_again_before_its_time(lab: Lab) -> None:
    await lab.watch.look()
    await lab.watch.look()
    assert (lab.vm(100).name, lab.asked) == ("kali", 1)


@pytest.mark.gen_test
async def test_what_pages_asked_for_is_written_without_asking(lab: Lab) -> None:
    await lab.watch.look()
    lab.cluster.found[0] = resource(100, "kali", "stopped")
    lab.newer()
    await lab.watch.look()
    assert (lab.vm(100).status, lab.asked) == ("stopped", 1)


@pytest.mark.gen_test
async def test_a_machine_that_is_gone_is_marked_when_its_node_is_online(lab: Lab) -> None:
    await lab.watch.look()
    lab.cluster.online = {"pve1": "offline", "pve2": "online"}
    lab.cluster.found[:] = [resource(102, "new")]
    lab.newer()
    await lab.watch.look()
    assert lab.vm(100).vanished_at is None
    assert lab.vm(101).vanished_at == lab.cluster.as_of


@pytest.mark.gen_test
async def test_an_empty_answer_is_not_believed(lab: Lab) -> None:
    await lab.watch.look()
    lab.cluster.found.clear()
    lab.newer()
    await lab.watch.look()
    assert (lab.vm(100).vanished_at, lab.vm(100).status) == (None, "unknown")


@pytest.mark.gen_test
async def test_a_cluster_that_is_down_is_left_alone_for_a_while_and_said_once(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.watch.look()
    monkeypatch.setattr(inventory_watch, "ASK_SECONDS", 0.0)
    lab.cluster.problem = Problem(SSH_REFUSED, "pve1:22")
    lab.watch._ask_at = 0.0
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await lab.watch.look()
    assert lab.asked == 4
    assert len(caplog.records) == 1
    assert "pve1:22" in caplog.text
    monkeypatch.setattr(inventory_watch, "ASK_SECONDS", 60.0)
    await lab.watch.look()
    await lab.watch.look()
    assert lab.asked == 5, "backs off"
    assert lab.vm(100).status == "running"
    monkeypatch.setattr(inventory_watch, "LOST_SECONDS", 0.0)
    await lab.watch.look()
    assert lab.vm(100).status == "unknown"
    lab.cluster.problem = None
    lab.newer()
    await lab.watch.look()
    assert lab.vm(100).status == "running"
