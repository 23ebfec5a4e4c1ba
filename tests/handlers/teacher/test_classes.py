"""A teacher's classes: one screen each, many machines at once, nothing of other classes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cyberlab.access_watch import AccessWatch
from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import assignments, audit, consoles, groups, users, vms
from cyberlab.db.models import MembershipRole, Role, VmKind
from cyberlab.handlers.operations import Batch, Phase
from cyberlab.problems import UNASSIGNED, VM_LOCKED, Problem
from tests.web import TEST, Client, World, resource, text


@pytest.fixture(autouse=True)
def filled(world: World) -> None:
    """The class: "kali" (the student's own), "lab-1" (theirs for the class's sake), "shared" (the class's)."""
    with world.database.transaction() as s:
        for vmid, name in ((201, "lab-1"), (202, "shared")):
            vm = vms.create(s, TEST, cluster="pve", vmid=vmid, kind=VmKind.QEMU, node="pve1", name=name)
            world.vms[name] = vm.id
            world.cluster.found.append(resource(vmid, name, "stopped"))
        for via, vm_name, user in ((world.group, "lab-1", "student"), (None, "shared", None)):
            assignments.create(
                s,
                TEST,
                vm_id=world.vms[vm_name],
                user_id=world.users[user] if user else None,
                group_id=None if user else world.group,
                via_group_id=via,
            )
        for vmid, names in ((100, "aa bb cc"), (201, "bb cc"), (202, "cc bb xx")):
            world.cluster.snapshot_names[vmid] = names.split()


def _class(world: World, rest: str = "") -> str:
    return f"/teacher/classes/{world.group}{rest}"


def _ids(world: World, *names: str) -> list[str]:
    return [str(world.vms[name]) for name in names]


async def _json(client: Client, path: str, who: str = "teacher") -> dict[str, Any]:
    response = await client.ask(path, who)
    assert response.code == 200, text(response)
    answer: dict[str, Any] = json.loads(response.body)
    return answer


async def _ended(world: World) -> Batch:
    batch = world.portal.operations.newest_batch(world.group)
    assert batch is not None
    for operation in batch.operations:
        await operation.ended.wait()
    return batch


@pytest.mark.gen_test
async def test_the_list_tells_how_much_there_is_of_each_class(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        groups.create(s, TEST, name="Somebody else's")
    page = text(await client.ask("/teacher", "teacher"))
    assert "Network security" in page
    assert "one student · 3 machines" in page
    assert "Somebody else" not in page
    asked = ConsoleRequest(world.users["student"], "student", 1, world.vms["kali"], "kali")
    with world.portal.registry.entry(asked, lambda code: None):
        answer = await _json(client, "/teacher/states")
    assert answer["classes"] == {str(world.group): {"running": 1, "connected": 1, "machines": 3}}


@pytest.mark.gen_test
async def test_nobody_teaches_nothing(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        groups.remove_member(s, TEST, world.group, world.users["teacher"])
    assert "You teach no class yet" in text(await client.ask("/teacher", "teacher"))
    assert (await _json(client, "/teacher/states"))["classes"] == {}


@pytest.mark.gen_test
async def test_one_screen_for_a_class(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        eve = users.create(s, TEST, username="eve", role=Role.STUDENT, display_name="Eve <script>")
        groups.add_member(s, TEST, world.group, eve.id, MembershipRole.STUDENT)
        row = consoles.opened(
            s, user_id=world.users["student"], vm_id=world.vms["kali"], username="student", vm_label="x", address=""
        )
        consoles.closed(s, row, bytes_to_client=0, bytes_to_upstream=0, end_reason="closed")
    world.cluster.hangs = True  # the page does not wait for it
    page = text(await client.ask(_class(world), "teacher"))
    for name in ("kali", "lab-1", "shared"):
        assert f'value="{world.vms[name]}"' in page
        assert f'href="/teacher/console/{world.vms[name]}?class={world.group}"' in page
        assert f'href="/teacher/watch/{world.vms[name]}?class={world.group}"' in page
    assert f'value="{world.vms["other"]}"' not in page
    assert "whole class" in page
    assert "A. Student" in page
    assert "last <time" in page
    assert "Eve &lt;script&gt;" in page, "named as one without a machine"


@pytest.mark.gen_test
async def test_an_empty_class_says_what_to_do(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        empty = groups.create(s, TEST, name="Empty").id
    assert "This class has no machine now" in text(await client.ask(f"/teacher/classes/{empty}", "admin"))
    answer = await _json(client, f"/teacher/classes/{empty}/states", "admin")
    assert answer["machines"] == {}


@pytest.mark.gen_test
async def test_who_is_there(client: Client, world: World) -> None:
    kali, registry = world.vms["kali"], world.portal.registry
    student = ConsoleRequest(world.users["student"], "student", 1, kali, "kali")
    teacher = ConsoleRequest(world.users["teacher"], "teacher", 2, kali, "kali", view_only=True)
    elsewhere = ConsoleRequest(world.users["other"], "other", 3, world.vms["other"], "other")
    wall = ConsoleRequest(world.users["teacher"], "teacher", 2, world.vms["lab-1"], "lab-1", view_only=True, wall=True)
    with (
        registry.entry(wall, lambda code: None),
        registry.entry(student, lambda code: None),
        registry.entry(teacher, lambda code: None),
        registry.entry(elsewhere, lambda code: None),
    ):
        answer = await _json(client, _class(world, "/states"))
        listed = await _json(client, "/teacher/states")
    assert listed["classes"][str(world.group)]["connected"] == 1, "a wall is nobody who is there"
    assert answer["people"] == {str(kali): "A. Student, A. Teacher (watching)"}
    assert answer["counts"] == "1 of 3 running, 1 connected"
    assert answer["machines"].keys() == set(_ids(world, "kali", "lab-1", "shared"))
    page = text(await client.ask(_class(world), "teacher"))
    assert f'data-version="{answer["version"]}"' in page


@pytest.mark.gen_test
async def test_many_are_started_and_each_has_its_result(client: Client, world: World) -> None:
    world.cluster.task_problems[202] = Problem(VM_LOCKED, "locked (backup)")
    form: dict[str, str | list[str]] = {"act": "start", "vm": _ids(world, "lab-1", "shared")}
    response = await client.ask(_class(world, "/act"), "teacher", form=form)
    assert (response.code, response.headers["Location"]) == (303, _class(world))
    answer = await _json(client, _class(world, "/states"))
    assert answer["soon"] is True
    assert answer["batch"]["words"] == "0 of 2 done"
    assert answer["machines"][str(world.vms["lab-1"])]["word"] == "starting…"
    results = _class(world, f"/operations/{answer['batch']['id']}")
    assert "starting…" in text(await client.ask(results, "teacher"))
    world.cluster.tasks_may_end.set()
    batch = await _ended(world)
    assert (batch.count(Phase.DONE), batch.count(Phase.FAILED)) == (1, 1)
    answer = await _json(client, f"{results}/states")
    assert answer["batch"]["words"] == "1 done, 1 failed"
    assert answer["batch"]["busy"] is False
    failed = answer["results"][str(world.vms["shared"])]
    assert failed["phase"] == "failed"
    assert failed["words"].startswith("This machine is busy with a backup")
    page = text(await client.ask(results, "teacher"))
    assert "Try the one that failed again" in page
    assert "Start 2 machines" in text(await client.ask(_class(world), "teacher"))


@pytest.mark.parametrize(("act", "asks"), [("shutdown", True), ("reboot", True), ("stop", True), ("start", False)])
@pytest.mark.gen_test
async def test_what_interrupts_a_class_is_confirmed(client: Client, world: World, act: str, asks: bool) -> None:
    world.cluster.tasks_may_end.set()
    form: dict[str, str | list[str]] = {"act": act, "vm": _ids(world, "kali", "lab-1")}
    response = await client.ask(_class(world, "/act"), "teacher", form=form)
    assert response.code == (200 if asks else 303)
    if asks:
        assert world.cluster.asked == []
        kept = re.findall('name="vm" value="([0-9]+)"', text(response))
        assert kept == form["vm"], "the choice is kept"
        assert (await client.ask(_class(world, "/act"), "teacher", form=form | {"confirmed": "1"})).code == 303
    await _ended(world)
    assert sorted(world.cluster.asked) == [(act, 100, ""), (act, 201, "")]


@pytest.mark.parametrize(("act", "asks"), [("start", False), ("shutdown", False), ("stop", True), ("reset", True)])
@pytest.mark.gen_test
async def test_one_machine_from_its_row(client: Client, world: World, act: str, asks: bool) -> None:
    world.cluster.tasks_may_end.set()
    # Boxes that happen to be ticked do not count for a row's own button.
    form: dict[str, str | list[str]] = {"one": f"{act} {world.vms['kali']}", "vm": _ids(world, "lab-1", "shared")}
    response = await client.ask(_class(world, "/act"), "teacher", form=form)
    assert response.code == (200 if asks else 303)
    if asks:
        assert re.findall('name="vm" value="([0-9]+)"', text(response)) == _ids(world, "kali")
    else:
        await _ended(world)
        assert world.cluster.asked == [(act, 100, "")]


@pytest.mark.parametrize("act", ["start", "shutdown", "reboot", "stop", "reset"])
@pytest.mark.gen_test
async def test_foreign_machines_refuse_the_whole_form(client: Client, world: World, act: str) -> None:
    for foreign in ("other", "spare"):
        for more in ({}, {"confirmed": "1", "snapshot": "aa"}, {"only": "1", "snapshot": "aa"}):
            form: dict[str, str | list[str]] = {"act": act, "vm": _ids(world, "kali", foreign), **more}
            response = await client.ask(_class(world, "/act"), "teacher", form=form)
            assert response.code == 403
            assert "Not all of these machines belong to this class" in text(response)
            one = {"one": f"{act} {world.vms[foreign]}", **more}
            assert (await client.ask(_class(world, "/act"), "teacher", form=one)).code == 403
    query = f"/snapshots?vm={world.vms['kali']}&vm={world.vms['other']}"
    assert (await client.ask(_class(world, query), "teacher")).code == 403
    assert world.cluster.asked == []
    vm = await world.database.run(vms.get, world.vms["other"])
    assert vm is not None
    assert vm.reset_snapshot == ""


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, 400),
        ({"act": "start"}, 400),
        ({"act": "destroy", "vm": "1"}, 400),
        ({"act": "start", "vm": "x"}, 403),
        ({"act": "start", "vm": "999999999999999999999"}, 403),
        ({"one": "start"}, 403),
        ({"one": "start 1 2"}, 403),
    ],
)
@pytest.mark.gen_test
async def test_forms_that_mean_nothing(client: Client, world: World, form: dict[str, str], code: int) -> None:
    response = await client.ask(_class(world, "/act"), "teacher", form=form)
    assert response.code == code
    assert "Nothing was done" in text(response)
    assert world.cluster.asked == []


@pytest.mark.gen_test
async def test_the_snapshots_in_common(client: Client, world: World) -> None:
    query = "&".join(f"vm={vm}" for vm in _ids(world, "kali", "lab-1", "shared"))
    assert await _json(client, _class(world, f"/snapshots?{query}")) == {"names": ["bb", "cc"], "message": ""}
    del world.cluster.snapshot_names[202]
    query = f"vm={world.vms['shared']}"
    assert (await _json(client, _class(world, f"/snapshots?{query}")))["names"] == ["cc", "bb", "xx"], "known still"
    world.portal.snapshots._known.clear()
    answer = await _json(client, _class(world, f"/snapshots?{query}"))
    assert answer["names"] == []
    assert "could not be listed" in answer["message"]


@pytest.mark.gen_test
async def test_a_snapshot_is_named_and_gone_back_to(client: Client, world: World) -> None:
    world.cluster.tasks_may_end.set()
    chosen: dict[str, str | list[str]] = {"act": "reset", "vm": _ids(world, "kali", "lab-1")}
    page = text(await client.ask(_class(world, "/act"), "teacher", form=chosen))
    assert "Reset 2 machines?" in page
    assert "Each to the one" not in page, "none is named"
    for bad in ({"snapshot": ""}, {"other": "x; reboot"}, {"snapshot": "current"}, {"snapshot": "=", "only": "1"}):
        response = await client.ask(_class(world, "/act"), "teacher", form={**chosen, "confirmed": "1", **bad})
        assert response.code == 422, bad
        assert "Please choose a snapshot" in text(response)
        assert re.findall('name="vm" value="([0-9]+)"', text(response)) == chosen["vm"]
    assert world.cluster.asked == []
    form = {"act": "reset", "vm": str(world.vms["kali"]), "only": "1", "snapshot": "", "other": " bb "}
    assert (await client.ask(_class(world, "/act"), "teacher", form=form)).code == 303
    assert world.cluster.asked == [], "only named"
    page = text(await client.ask(_class(world, "/act"), "teacher", form=chosen))
    assert "Each to the one" in page
    assert "for one machine none is named" in page
    await client.ask(_class(world, "/act"), "teacher", form={**chosen, "confirmed": "1", "snapshot": "="})
    batch = await _ended(world)
    assert world.cluster.asked == [("reset", 100, "bb")]
    assert batch.count(Phase.FAILED) == 1, "the one without a name"
    form = {**chosen, "confirmed": "1", "snapshot": "cc", "naming": "1"}  # type: ignore[dict-item]
    await client.ask(_class(world, "/act"), "teacher", form=form)
    await _ended(world)
    assert sorted(world.cluster.asked[1:]) == [("reset", 100, "cc"), ("reset", 201, "cc")]
    with world.database.transaction() as s:
        assert {vm.reset_snapshot for vm in (vms.get(s, world.vms["kali"]), vms.get(s, world.vms["lab-1"])) if vm} == {
            "cc"
        }
        named = [(row.actor, row.detail) for row in audit.page(s, search="vm.snapshot").rows]
    assert named == [("teacher", "resets to cc")] * 2 + [("teacher", "resets to bb")]


@pytest.mark.gen_test
async def test_results_belong_to_their_class(client: Client, world: World) -> None:
    world.cluster.tasks_may_end.set()
    with world.database.transaction() as s:
        second = groups.create(s, TEST, name="Second").id
        groups.add_member(s, TEST, second, world.users["teacher"], MembershipRole.TEACHER)
    await client.ask(_class(world, "/act"), "teacher", form={"one": f"start {world.vms['kali']}"})
    batch = await _ended(world)
    assert (await client.ask(_class(world, f"/operations/{batch.id}"), "teacher")).code == 200
    for path in (f"/teacher/classes/{second}/operations/{batch.id}", _class(world, "/operations/999")):
        assert (await client.ask(path, "teacher")).code == 404
        assert (await client.ask(f"{path}/states", "teacher")).code == 404


@pytest.mark.gen_test
async def test_a_lesson_is_ended(client: Client, world: World) -> None:
    page = text(await client.ask(_class(world, "/end"), "teacher"))
    assert "2 assignments end at once" in page
    assert "One machine stays with its student" in page
    closed: list[str] = []
    watching = ConsoleRequest(world.users["student"], "student", 1, world.vms["shared"], "shared")
    with world.portal.registry.entry(watching, closed.append):
        assert (await client.ask(_class(world, "/end"), "teacher", form={})).code == 303
        await AccessWatch(world.database, world.portal.logins, world.portal.registry).look()
    assert closed == [UNASSIGNED]
    answer = await _json(client, _class(world, "/states"))
    assert answer["machines"].keys() == set(_ids(world, "kali"))
    assert (await client.ask(f"/teacher/console/{world.vms['lab-1']}", "teacher")).code == 403
    assert (await client.ask(f"/student/console/{world.vms['shared']}", "student")).code == 403
    later = datetime.now(UTC) + timedelta(hours=1)
    with world.database.transaction() as s:
        assert assignments.facts(s, world.users["student"], world.vms["lab-1"], later).assigned is False
        assert [row.detail for row in audit.page(s, search="class.end").rows] == ["2 assignments"]


@pytest.mark.gen_test
async def test_a_lesson_goes_on_again(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        groups.add_member(s, TEST, world.group, world.users["other"], MembershipRole.TEACHER)
        other = users.get(s, world.users["other"])
        assert other is not None
        other.role = Role.TEACHER
    await client.ask(_class(world, "/end"), "teacher", form={})
    assert (await client.ask(_class(world, "/end"), "teacher", form={})).code == 303, "nothing is left to end"
    page = text(await client.ask(_class(world), "teacher"))
    undo = re.search(r'action="(/teacher/classes/[0-9]+/end/[0-9]+/undo)"', page)
    assert undo
    assert "/undo" not in text(await client.ask(_class(world), "other")), "only who ended it takes it back"
    assert (await client.ask(undo[1], "other", form={})).code == 404
    assert (await client.ask(undo[1], "student", form={})).code == 403
    assert (await client.ask(undo[1], "teacher", form={})).code == 303
    assert (await _json(client, _class(world, "/states")))["machines"].keys() == set(
        _ids(world, "kali", "lab-1", "shared")
    )
    assert "/undo" not in text(await client.ask(_class(world), "teacher"))
    assert (await client.ask(undo[1], "teacher", form={})).code == 404
