from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from cyberlab.db.models import Vm, VmKind
from cyberlab.handlers import snapshots as module
from cyberlab.handlers.snapshots import Common, SnapshotLists, is_name
from cyberlab.problems import NODE_OFFLINE, Problem
from cyberlab.proxmox.answers import Snapshot


class Lists:
    """A cluster's machines by VMID: their snapshots, or None for one that never answers."""

    def __init__(self, known: dict[int, list[Snapshot] | None]) -> None:
        self.known = known
        self.asked: list[int] = []
        self.at_once = self.most_at_once = 0

    async def snapshots(self, node: str, kind: str, vmid: int) -> list[Snapshot]:
        self.asked.append(vmid)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if vmid not in self.known:
                raise Problem(NODE_OFFLINE)
            found = self.known[vmid]
            if found is None:
                await asyncio.Event().wait()
            return found or []
        finally:
            self.at_once -= 1


def machines(*vmids: int) -> list[Vm]:
    return [Vm(id=vmid, cluster="pve", vmid=vmid, kind=VmKind.QEMU, node="pve1") for vmid in vmids]


def lists_of(cluster: Any) -> SnapshotLists:
    return SnapshotLists({"pve": cluster})


@pytest.mark.gen_test
async def test_common_names_newest_first() -> None:
    old, new = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    lists = lists_of(
        Lists(
            {
                1: [Snapshot("fresh", taken_at=old), Snapshot("own"), Snapshot("lesson", taken_at=new)],
                2: [Snapshot("lesson"), Snapshot("fresh")],
            }
        )
    )
    assert await lists.common(machines(1, 2)) == Common(["lesson", "fresh"], 2, 0)
    assert await lists.common([]) == Common([], 0, 0)


@pytest.mark.gen_test
async def test_a_few_at_a_time_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Lists({vmid: [Snapshot("x1")] for vmid in range(100)})
    lists = lists_of(cluster)
    assert await lists.common(machines(*range(100))) == Common(["x1"], module.ASKED, 0)
    assert cluster.most_at_once == module.AT_ONCE
    assert len(cluster.asked) == module.ASKED
    await lists.common(machines(*range(10)))
    assert len(cluster.asked) == module.ASKED, "known"
    monkeypatch.setattr(module, "FRESH", -1.0)
    await lists.common(machines(1))
    assert len(cluster.asked) == module.ASKED + 1


@pytest.mark.gen_test
async def test_who_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    lists = lists_of(Lists({1: [Snapshot("lesson")], 2: None}))
    elsewhere = Vm(id=9, cluster="old", vmid=9, kind=VmKind.QEMU, node="pve1")
    assert await lists.common([*machines(1, 2, 3), elsewhere]) == Common(["lesson"], 1, 3)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("lesson-3", True),
        ("a1", True),
        ("current", False),
        ("", False),
        ("x; y", False),
        ("../x", False),
        ("é1", False),
    ],
)
def test_names(name: str, good: bool) -> None:
    assert is_name(name) == good
