from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from cyberlab.db import assignments, vms
from cyberlab.db.models import VmKind
from cyberlab.problems import PVESH_TIMEOUT, SSH_REFUSED, VM_LOCKED, Problem
from tests.web import TEST, Client, World, resource, text


@pytest.mark.gen_test
async def test_cards_are_drawn_without_the_cluster(client: Client, world: World) -> None:
    world.cluster.hangs = True
    page = text(await client.ask("/student", "student"))
    assert "kali" in page
    assert f'href="/student/console/{world.vms["kali"]}"' in page
    assert "checking…" in page
    assert "spare" not in page


@pytest.mark.gen_test
async def test_nothing_assigned_says_what_to_do(client: Client) -> None:
    page = text(await client.ask("/student", "admin"))
    assert "No machine is assigned to you yet" in page
    assert "<strong>admin</strong>" in page


@pytest.mark.gen_test
async def test_names_are_escaped(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        vm = vms.create(s, TEST, cluster="pve", vmid=500, kind=VmKind.QEMU, node="pve1", name='<b>"x')
        assignments.create(s, TEST, vm_id=vm.id, user_id=world.users["student"])
    page = text(await client.ask("/student", "student"))
    assert "<b>" not in page
    assert "&lt;b&gt;&quot;x" in page


async def _states(client: Client, path: str = "/student/states", who: str = "student") -> dict[str, object]:
    response = await client.ask(path, who)
    assert response.code == 200
    answer: dict[str, object] = json.loads(response.body)
    return answer


@pytest.mark.parametrize(
    ("found", "state", "word"),
    [
        (resource(100, "kali"), "running", "running"),
        (resource(100, "kali", "stopped"), "stopped", "stopped"),
        (resource(100, "kali", "stopped", lock="backup"), "stopped", "stopped, busy: backup"),
        (resource(100, "kali", "unknown"), "unknown", "unknown"),
        (resource(999, "kali"), "gone", "not on the cluster"),
    ],
)
@pytest.mark.gen_test
async def test_states(client: Client, world: World, found: object, state: str, word: str) -> None:
    world.cluster.found = [found]  # type: ignore[list-item]
    answer = await _states(client)
    assert answer == {
        "machines": {str(world.vms["kali"]): {"state": state, "word": word, "stale": False}},
        "message": None,
    }


@pytest.mark.gen_test
async def test_an_old_inventory_is_marked(client: Client, world: World) -> None:
    world.cluster.as_of = datetime.now(UTC) - timedelta(seconds=40)
    answer = await _states(client)
    assert answer["machines"][str(world.vms["kali"])]["stale"] is True  # type: ignore[index]


@pytest.mark.parametrize("code", [SSH_REFUSED, PVESH_TIMEOUT])
@pytest.mark.gen_test
async def test_no_inventory_is_said(client: Client, world: World, code: str) -> None:
    world.cluster.problem = Problem(code, "detail for the log")
    answer = await _states(client)
    assert _word(answer, world) == "unknown"
    assert world.cluster.problem.advice.title in str(answer["message"])
    assert "detail" not in str(answer)


@pytest.mark.gen_test
async def test_what_the_cluster_said_last_is_shown_as_old(client: Client, world: World) -> None:
    world.cluster.as_of = datetime.now(UTC) - timedelta(minutes=5)
    await _states(client)
    world.cluster.problem = Problem(SSH_REFUSED)
    answer = await _states(client)
    assert answer["machines"][str(world.vms["kali"])] == {"state": "running", "word": "running", "stale": True}  # type: ignore[index]
    assert "cannot be reached" in str(answer["message"])


@pytest.mark.gen_test
async def test_a_hanging_cluster_is_given_up(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyberlab.handlers.machines.PATIENCE", 0.05)
    world.cluster.hangs = True
    answer = await _states(client)
    assert "not answering" in str(answer["message"])


@pytest.mark.gen_test
async def test_a_cluster_that_is_gone_from_the_settings(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        vm = vms.create(s, TEST, cluster="old", vmid=100, kind=VmKind.QEMU, node="pve1", name="old")
        assignments.create(s, TEST, vm_id=vm.id, user_id=world.users["student"], can_power=True)
    answer = await _states(client)
    assert answer["machines"][str(vm.id)]["state"] == "unknown"  # type: ignore[index]
    assert (await client.ask(f"/student/machines/{vm.id}/start", "student", form={})).code == 503


def _word(answer: dict[str, object], world: World) -> str:
    return str(answer["machines"][str(world.vms["kali"])]["word"])  # type: ignore[index]


@pytest.mark.gen_test
async def test_start_goes_on_behind_the_page(client: Client, world: World) -> None:
    world.cluster.found = [resource(100, "kali", "stopped")]
    path = f"/student/machines/{world.vms['kali']}/start"
    response = await client.ask(path, "student", form={})
    assert (response.code, response.headers["Location"]) == (303, "/student")
    notice = next(value for value in response.headers.get_list("Set-Cookie") if "notice" in value).split(";")[0]
    shown = await client.ask("/student", headers={"Cookie": f"{notice}; cyberlab={world.tokens['student']}"})
    assert "kali is being started" in text(shown)
    assert _word(await _states(client), world) == "starting…"
    assert (await client.ask(path, "student", form={})).code == 303
    assert world.cluster.started == [("pve1", "qemu", 100)], "one start is enough"
    errand = world.portal.errands.of(world.vms["kali"])
    assert errand is not None
    assert errand.task is not None
    world.cluster.start_may_end.set()
    await errand.task
    assert _word(await _states(client), world) == "running", "the cluster's list is behind"
    assert (await client.ask(path, "student")).code == 405


@pytest.mark.gen_test
async def test_a_start_that_fails_is_told(client: Client, world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.cluster.found = [resource(100, "kali", "stopped")]
    world.cluster.start_may_end.set()
    await _states(client)
    world.cluster.problem = Problem(VM_LOCKED, "locked (backup)")
    await client.ask(f"/student/machines/{world.vms['kali']}/start", "student", form={})
    while (errand := world.portal.errands.of(world.vms["kali"])) is None or errand.task is not None:
        await asyncio.sleep(0)
    assert "could not be started: This machine is busy" in _word(await _states(client), world)
    assert "start of pve/100 kali for student failed: vm-locked: locked (backup)" in caplog.text


@pytest.mark.gen_test
async def test_starts_end_with_the_portal(client: Client, world: World) -> None:
    await client.ask(f"/student/machines/{world.vms['kali']}/start", "student", form={})
    await world.portal.errands.close()
    errand = world.portal.errands.of(world.vms["kali"])
    assert errand is not None
    assert not errand.running


@pytest.mark.gen_test
async def test_start_wants_the_right(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        assignments.update(s, TEST, world.assignment, starts_at=None, ends_at=None, can_power=False, can_reset=False)
    path = f"/student/machines/{world.vms['kali']}/start"
    assert (await client.ask(path, "student", form={})).code == 403
    assert (await client.ask(path, "other", form={})).code == 403
    assert world.cluster.started == []


@pytest.mark.gen_test
async def test_a_forged_notice_is_not_shown(client: Client, world: World) -> None:
    cookie = f'cyberlab-notice="2|1:0|10:1|15:forged|8:Zm9yZ2Vk|00"; cyberlab={world.tokens["student"]}'
    page = await client.ask("/student", headers={"Cookie": cookie})
    assert (page.code, "forged" in text(page)) == (200, False)


@pytest.mark.gen_test
async def test_the_teacher_sees_what_the_students_hold(client: Client, world: World) -> None:
    page = text(await client.ask("/teacher", "teacher"))
    assert "kali" in page
    assert "A. Student" in page
    assert f"/teacher/console/{world.vms['kali']}" in page
    assert f"/teacher/console/{world.vms['other']}" not in page
    answer = await _states(client, "/teacher/states", "teacher")
    assert answer["machines"] == {str(world.vms["kali"]): {"state": "running", "word": "running", "stale": False}}
