from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from cyberlab.db import assignments, holdings, vms
from cyberlab.db.models import VmKind
from cyberlab.problems import PVESH_TIMEOUT, SSH_REFUSED, Problem
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


def _word(answer: dict[str, object], world: World) -> str:
    return str(answer["machines"][str(world.vms["kali"])]["word"])  # type: ignore[index]


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
        (resource(100, "kali", "unknown"), "unknown", "unknown: its host does not answer"),
        (resource(999, "kali"), "gone", "not on the cluster any more"),
    ],
)
@pytest.mark.gen_test
async def test_states(client: Client, world: World, found: object, state: str, word: str) -> None:
    world.cluster.found = [found]  # type: ignore[list-item]
    answer = await _states(client)
    assert answer == {
        "machines": {
            str(world.vms["kali"]): {
                "state": state,
                "word": word,
                "stale": False,
                "busy": False,
                "problem": None,
                "help": None,
            }
        },
        "message": None,
        "version": answer["version"],
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
    assert _word(answer, world) == "running, a while ago"
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


def _give(world: World, vm: str, who: str = "student", **more: object) -> None:
    with world.database.transaction() as s:
        assignments.create(s, TEST, vm_id=world.vms[vm], user_id=world.users[who], **more)  # type: ignore[arg-type]


@pytest.mark.gen_test
async def test_what_begins_later_is_shown_and_cannot_be_opened(client: Client, world: World) -> None:
    _give(world, "spare", starts_at=datetime(2099, 12, 1, 9, 0, tzinfo=UTC), can_power=True)
    page = text(await client.ask("/student", "student"))
    assert "Begins <time" in page
    assert "1 Dec 2099, 09:00" in page
    assert f"/student/console/{world.vms['spare']}" not in page
    answer = await _states(client)
    assert str(world.vms["spare"]) not in answer["machines"]  # type: ignore[operator]


@pytest.mark.gen_test
async def test_what_ends_today_is_said(client: Client, world: World) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    _give(world, "spare", ends_at=tomorrow)
    _give(world, "other", ends_at=datetime(2099, 12, 18, tzinfo=UTC))
    page = text(await client.ask("/student", "student"))
    assert "Ends today at midnight" in page
    assert re.search("until <time[^>]*>18 Dec 2099</time>", page)


@pytest.mark.gen_test
async def test_the_class_and_what_vanished_are_said(client: Client, world: World) -> None:
    _give(world, "spare", via_group_id=world.group)
    with world.database.transaction() as s:
        vm = vms.get(s, world.vms["spare"])
        assert vm is not None
        vm.vanished_at = datetime(2026, 11, 3, tzinfo=UTC)
    page = text(await client.ask("/student", "student"))
    assert "Network security" in page
    assert re.search("gone from the cluster since <time[^>]*>3 Nov 2026</time>", page)


@pytest.mark.gen_test
async def test_the_page_learns_that_it_is_out_of_date(client: Client, world: World) -> None:
    page = text(await client.ask("/student", "student"))
    before = (await _states(client))["version"]
    assert f'data-version="{before}"' in page
    _give(world, "spare")
    assert (await _states(client))["version"] != before


@pytest.mark.gen_test
async def test_rights_decide_what_is_offered(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        holdings.name_snapshot(s, TEST, list(world.vms.values()), "lesson-3")
    page = text(await client.ask("/student", "student"))
    kali = world.vms["kali"]
    assert f'action="/student/machines/{kali}/shutdown"' in page
    assert "lesson-3" not in page, "may not reset"
    with world.database.transaction() as s:
        assignments.update(s, TEST, world.assignment, starts_at=None, ends_at=None, can_power=False, can_reset=True)
    page = text(await client.ask("/student", "student"))
    assert "/shutdown" not in page
    assert "Reset to “lesson-3”" in page


@pytest.mark.gen_test
async def test_a_forged_notice_is_not_shown(client: Client, world: World) -> None:
    cookie = f'cyberlab-notice="2|1:0|10:1|15:forged|8:Zm9yZ2Vk|00"; cyberlab={world.tokens["student"]}'
    page = await client.ask("/student", headers={"Cookie": cookie})
    assert (page.code, "forged" in text(page)) == (200, False)
