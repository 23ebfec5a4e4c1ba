from __future__ import annotations

import json

import pytest

from cyberlab.db import assignments, audit, holdings
from cyberlab.handlers.operations import Operation
from cyberlab.problems import SNAPSHOT_GONE, VM_LOCKED, Problem
from tests.web import TEST, Client, World, resource, text

ACTS = ("start", "shutdown", "reboot", "stop")


def _path(world: World, act: str, vm: str = "kali") -> str:
    return f"/student/machines/{world.vms[vm]}/{act}"


def _rights(world: World, *, power: bool, reset: bool) -> None:
    with world.database.transaction() as s:
        assignments.update(s, TEST, world.assignment, starts_at=None, ends_at=None, can_power=power, can_reset=reset)


def _name(world: World, snapshot: str) -> None:
    with world.database.transaction() as s:
        holdings.name_snapshot(s, TEST, [world.vms["kali"]], snapshot)


def _operation(world: World) -> Operation:
    found = world.portal.operations.of(world.vms["kali"])
    assert found is not None
    return found


async def _kali(client: Client, world: World) -> dict[str, object]:
    answer = json.loads((await client.ask("/student/states", "student")).body)
    found: dict[str, object] = answer["machines"][str(world.vms["kali"])]
    return found


def _audit(world: World) -> list[tuple[str, str, str]]:
    with world.database.transaction() as s:
        return [(row.actor, row.action, row.detail) for row in audit.page(s, search="vm.").rows if row.actor != "test"]


@pytest.mark.gen_test
async def test_a_start_goes_on_behind_the_page(client: Client, world: World) -> None:
    world.cluster.found = [resource(100, "kali", "stopped")]
    response = await client.ask(_path(world, "start"), "student", form={})
    assert (response.code, response.headers["Location"]) == (303, "/student")
    notice = next(value for value in response.headers.get_list("Set-Cookie") if "notice" in value).split(";")[0]
    shown = await client.ask("/student", headers={"Cookie": f"{notice}; cyberlab={world.tokens['student']}"})
    assert "kali is being started" in text(shown)
    assert (await _kali(client, world))["word"] == "starting…"
    assert (await _kali(client, world))["busy"] is True
    assert (await client.ask(_path(world, "stop"), "student", form={})).code == 303
    await world.cluster.begun.wait()
    assert world.cluster.asked == [("start", 100, "")], "one at a time"
    world.cluster.tasks_may_end.set()
    await _operation(world).ended.wait()
    assert (await _kali(client, world))["word"] == "running", "the cluster's list is behind"


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.gen_test
async def test_each_act_is_asked_of_the_cluster(client: Client, world: World, act: str) -> None:
    world.cluster.tasks_may_end.set()
    page = text(await client.ask(_path(world, act), "student"))
    assert "kali?" in page, "without scripts there is a question"
    assert (await client.ask(_path(world, act), "student", form={})).code == 303
    await _operation(world).ended.wait()
    assert world.cluster.asked == [(act, 100, "")]


@pytest.mark.gen_test
async def test_a_failure_is_told_with_what_to_do(
    client: Client, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.cluster.found = [resource(100, "kali", "stopped")]
    world.cluster.tasks_may_end.set()
    world.cluster.task_problems[100] = Problem(VM_LOCKED, "locked (backup)")
    await client.ask(_path(world, "start"), "student", form={})
    await _operation(world).ended.wait()
    kali = await _kali(client, world)
    assert kali["word"] == "stopped"
    assert str(kali["problem"]).startswith("It could not be started: This machine is busy with a backup")
    assert "start of pve/100 kali for student failed: vm-locked: locked (backup)" in caplog.text
    await world.portal.operations.close()
    assert _audit(world) == [
        ("student", "vm.start.failed", "vm-locked: locked (backup)"),
        ("student", "vm.start", ""),
    ]


@pytest.mark.gen_test
async def test_a_reset_goes_to_the_snapshot_that_was_shown(client: Client, world: World) -> None:
    _rights(world, power=False, reset=True)
    assert (await client.ask(_path(world, "reset"), "student")).code == 409, "none is named"
    assert (await client.ask(_path(world, "reset"), "student", form={})).code == 409
    _name(world, "lesson-3")
    assert "Reset kali to “lesson-3”?" in text(await client.ask(_path(world, "reset"), "student"))
    _name(world, "lesson-4")
    again = await client.ask(_path(world, "reset"), "student", form={"snapshot": "lesson-3"})
    assert (again.code, "to “lesson-4”?" in text(again)) == (200, True), "the teacher has changed it: asked again"
    assert world.cluster.asked == []
    world.cluster.tasks_may_end.set()
    assert (await client.ask(_path(world, "reset"), "student", form={"snapshot": "lesson-4"})).code == 303
    await _operation(world).ended.wait()
    assert world.cluster.asked == [("reset", 100, "lesson-4")]
    await world.portal.operations.close()
    assert _audit(world) == [
        ("student", "vm.reset.done", "to lesson-4"),
        ("student", "vm.reset", "to lesson-4"),
    ]


@pytest.mark.gen_test
async def test_a_snapshot_that_is_gone_is_said(client: Client, world: World) -> None:
    _rights(world, power=False, reset=True)
    _name(world, "lesson-3")
    world.cluster.tasks_may_end.set()
    world.cluster.task_problems[100] = Problem(SNAPSHOT_GONE)
    await client.ask(_path(world, "reset"), "student", form={"snapshot": "lesson-3"})
    await _operation(world).ended.wait()
    assert "It could not be reset: The snapshot to go back to does not exist." in str(
        (await _kali(client, world))["problem"]
    )


@pytest.mark.parametrize("act", [*ACTS, "reset"])
@pytest.mark.gen_test
async def test_each_act_wants_its_right(client: Client, world: World, act: str) -> None:
    _name(world, "lesson-3")
    _rights(world, power=act == "reset", reset=act != "reset")
    for who, code in (("student", 403), ("other", 403)):
        assert (await client.ask(_path(world, act), who)).code == code
        assert (await client.ask(_path(world, act), who, form={"snapshot": "lesson-3"})).code == code
    for who in ("student", "other", "teacher"):
        assert (await client.ask(_path(world, act, "spare"), who, form={})).code == 403
    assert (await client.ask(_path(world, act), "teacher")).code == 200, "teaches the student"
    assert (await client.ask(_path(world, act), "admin")).code == 200
    assert world.cluster.asked == []


@pytest.mark.gen_test
async def test_a_cluster_that_is_gone_from_the_settings(client: Client, world: World) -> None:
    world.portal.clusters.clear()  # type: ignore[attr-defined]
    assert (await client.ask(_path(world, "start"), "student", form={})).code == 503
