from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from cyberlab.db import assignments, users, vms
from cyberlab.db.models import Assignment, Role, VmKind
from tests.web import TEST, Client, World, text

NEW = {"user": "student", "vm": "pve/101", "starts_at": "", "ends_at": ""}


async def _one(world: World, vm: str = "spare") -> Assignment | None:
    return await world.database.run(assignments.find, vm_id=world.vms[vm], user_id=world.users["student"])


@pytest.mark.gen_test
async def test_list(client: Client) -> None:
    page = text(await client.ask("/admin/assignments?q=kali+student", "admin"))
    assert "1–1 of 1" in page
    assert "open, power" in page
    assert "no limit" in page
    assert "No assignment fits" in text(await client.ask("/admin/assignments?q=spare", "admin"))


@pytest.mark.gen_test
async def test_create_with_everything(client: Client, world: World) -> None:
    times = {"starts_at": "2026-10-01T08:00", "ends_at": "2030-12-18T00:00:00"}
    form = NEW | times | {"can_power": "1", "can_reset": "1"}
    response = await client.ask("/admin/assignments/new", "admin", form=form)
    assert (response.code, response.headers["Location"]) == (303, "/admin/assignments")
    row = await _one(world)
    assert row is not None
    assert row.starts_at == datetime(2026, 10, 1, 8, tzinfo=UTC)
    assert row.ends_at == datetime(2030, 12, 18, tzinfo=UTC)
    assert (row.can_power, row.can_reset) == (True, True)
    listed = text(await client.ask("/admin/assignments?q=spare", "admin"))
    assert ">1 Oct 2026, 08:00 UTC</time> – " in listed
    assert ">18 Dec 2030</time>" in listed


@pytest.mark.parametrize("machine", ["spare", "pve/101", "pve/101 spare"])
@pytest.mark.gen_test
async def test_a_machine_by_name_or_number(client: Client, world: World, machine: str) -> None:
    assert (await client.ask("/admin/assignments/new", "admin", form=NEW | {"vm": machine})).code == 303
    assert await _one(world) is not None


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"user": ""}, "user", "choose a user, a class, or both"),
        ({"user": "nobody"}, "user", "no such user"),
        ({"vm": ""}, "vm", "Please fill this in"),
        ({"class": "999"}, "class", "no such class"),
        ({"class": "x"}, "class", "no such class"),
        ({"vm": "pve/999"}, "vm", "no such machine"),
        ({"vm": "twin"}, "vm", "several machines are called"),
        ({"vm": "pve/100"}, "user", "assigned there already"),
        ({"starts_at": "2026-10-02T00:00", "ends_at": "2026-10-01T00:00"}, "ends_at", "after the start"),
        ({"starts_at": "2026-10-02T00:00", "ends_at": "2026-10-02T00:00"}, "ends_at", "after the start"),
        ({"starts_at": "tomorrow"}, "starts_at", "a date and a time"),
        ({"ends_at": "2026-02-30T00:00"}, "ends_at", "a date and a time"),
        ({"ends_at": "275760-01-01T00:00"}, "ends_at", "a date and a time"),
        ({"ends_at": "2026-10-02T00:00+02:00"}, "ends_at", "a date and a time"),
    ],
)
@pytest.mark.gen_test
async def test_bad_input(client: Client, world: World, change: dict[str, str], field: str, words: str) -> None:
    with world.database.transaction() as s:
        for vmid in (201, 202):
            vms.create(s, TEST, cluster="pve", vmid=vmid, kind=VmKind.QEMU, node="pve1", name="twin")
    response = await client.ask("/admin/assignments/new", "admin", form=NEW | {"can_reset": "1"} | change)
    assert response.code == 422
    page = text(response)
    assert f'id="{field}-error"' in page
    assert words.lower() in page.lower()
    assert 'name="can_reset" value="1" checked' in page
    for name, value in (NEW | {key: value for key, value in change.items() if key != "class"}).items():
        assert not value or f'value="{value}"' in page, name
    assert await _one(world) is None


@pytest.mark.gen_test
async def test_user_of_another_backend(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        users.create(s, TEST, username="ldapper", role=Role.STUDENT, backend="campus-ldap")
    assert (await client.ask("/admin/assignments/new", "admin", form=NEW | {"user": "ldapper"})).code == 303


@pytest.mark.gen_test
async def test_edit(client: Client, world: World) -> None:
    path = f"/admin/assignments/{world.assignment}"
    page = text(await client.ask(path, "admin"))
    assert 'name="can_power" value="1" checked' in page
    form = {"starts_at": "", "ends_at": "2020-01-01T00:00", "can_reset": "1", "version": "1"}
    assert (await client.ask(path, "admin", form=form)).code == 303
    row = await _one(world, "kali")
    assert row is not None
    assert (row.can_power, row.can_reset, row.ends_at) == (False, True, datetime(2020, 1, 1, tzinfo=UTC))
    assert (await client.ask(f"/student/console/{world.vms['kali']}", "student")).code == 403
    assert (await client.ask(path, "admin", form={"ends_at": "x"})).code == 422


@pytest.mark.gen_test
async def test_remove(client: Client, world: World) -> None:
    path = f"/admin/assignments/{world.assignment}"
    assert "Take kali away from student?" in text(await client.ask(f"{path}/remove", "admin"))
    assert (await client.ask(f"/student/console/{world.vms['kali']}", "student")).code == 200
    assert (await client.ask(f"{path}/remove", "admin", form={})).code == 303
    assert (await client.ask(f"/student/console/{world.vms['kali']}", "student")).code == 403
    for where in (path, f"{path}/remove"):
        gone = await client.ask(where, "admin", form={"starts_at": ""})
        assert (gone.code, "no longer exists" in text(gone)) == (404, True)


@pytest.mark.gen_test
async def test_the_address_may_name_both(client: Client) -> None:
    page = text(await client.ask("/admin/assignments/new?user=student&vm=pve%2F101", "admin"))
    assert 'value="student"' in page
    assert 'value="pve/101"' in page


@pytest.mark.gen_test
async def test_two_admins_edit_the_same_row(client: Client, world: World) -> None:
    path = f"/admin/assignments/{world.assignment}"
    theirs = {"version": "1", "ends_at": "2031-01-01T00:00", "can_power": "1"}
    assert (await client.ask(path, "admin", form=theirs)).code == 303
    told = await client.ask(path, "admin", form={"version": "1", "ends_at": "2032-02-02T00:00"})
    assert told.code == 422
    page = text(told)
    assert "Somebody else has changed this" in page
    assert 'value="2032-02-02T00:00"' in page
    assert "There now: 2031-01-01 00:00" in page
    assert re.search(r"There now: <strong>yes</strong>|There now: yes", page)  # the right that was taken off here
    assert 'name="version" value="2"' in page
    row = await _one(world, "kali")
    assert row is not None
    assert row.ends_at == datetime(2031, 1, 1, tzinfo=UTC)


@pytest.mark.gen_test
async def test_for_a_class_and_for_its_sake(client: Client, world: World) -> None:
    group = str(world.group)
    form = NEW | {"user": "", "class": group}
    assert (await client.ask("/admin/assignments/new", "admin", form=form)).code == 303
    assert await world.database.run(assignments.find, vm_id=world.vms["spare"], group_id=world.group) is not None
    form = NEW | {"vm": "pve/102", "class": group, "shared": "1"}
    assert (await client.ask("/admin/assignments/new", "admin", form=form)).code == 303
    row = await _one(world, "other")
    assert row is not None
    assert row.via_group_id == world.group
    listed = text(await client.ask(f"/admin/assignments?class={group}", "admin"))
    assert "1–2 of 2" in listed
    assert "Network security (class)" in listed


@pytest.mark.gen_test
async def test_a_machine_that_others_have_is_shared_only_when_that_is_meant(client: Client, world: World) -> None:
    form = NEW | {"user": "other", "vm": "pve/100"}
    asked = await client.ask("/admin/assignments/new", "admin", form=form)
    assert asked.code == 422
    assert "Others have the machine in that time (student)." in text(asked)
    assert 'name="shared"' in text(asked)
    assert 'value="other"' in text(asked)
    assert (await client.ask("/admin/assignments/new", "admin", form=form | {"shared": "1"})).code == 303


@pytest.mark.gen_test
async def test_times_that_reach_into_others_are_saved_only_when_that_is_meant(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        vm, ends = world.vms["kali"], datetime(2030, 1, 1, tzinfo=UTC)
        assignments.create(s, TEST, vm_id=vm, user_id=world.users["teacher"], ends_at=ends)
        mine = assignments.create(s, TEST, vm_id=vm, user_id=world.users["other"], ends_at=ends).id
        assignments.create(s, TEST, vm_id=vm, user_id=world.users["admin"], starts_at=ends)
    path, form = f"/admin/assignments/{mine}", {"starts_at": "", "can_reset": "1", "version": "1"}
    shorter = form | {"ends_at": "2029-12-31T00:00"}
    assert (await client.ask(path, "admin", form=shorter)).code == 303, "with whom it was shared before needs no word"
    longer = form | {"ends_at": "2031-01-01T00:00", "version": "2"}
    asked = await client.ask(path, "admin", form=longer)
    assert asked.code == 422
    assert "Others have the machine in that time (admin)." in text(asked)
    assert text(asked).index('id="ends_at-error"') < text(asked).index('name="shared"'), "“below”, it says"
    assert 'value="2031-01-01T00:00"' in text(asked)
    assert 'name="can_reset" value="1" checked' in text(asked)
    assert (await client.ask(path, "admin", form=longer | {"shared": "1"})).code == 303


@pytest.mark.gen_test
async def test_what_reaches_into_others_is_said_at_the_time_that_was_changed(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        vm, begins = world.vms["spare"], datetime(2030, 1, 1, tzinfo=UTC)
        mine = assignments.create(s, TEST, vm_id=vm, user_id=world.users["other"], starts_at=begins).id
        for number in range(6):
            user = users.create(s, TEST, username=f"s{number}", role=Role.STUDENT)
            assignments.create(s, TEST, vm_id=vm, user_id=user.id, ends_at=begins)
    form = {"starts_at": "2029-12-31T00:00", "ends_at": "", "version": "1"}
    page = text(await client.ask(f"/admin/assignments/{mine}", "admin", form=form))
    assert "Others have the machine in that time (s0, s1, s2, s3, s4 …). Tick below" in page
    assert 'id="starts_at-error"' in page
    assert 'id="ends_at-error"' not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("when=now", 2),
        ("when=ended", 0),
        ("when=nonsense&rights=nonsense&class=x&user=-1", 2),
        ("rights=power", 1),
        ("rights=open", 1),
        ("rights=reset", 0),
        ("class=99999999999999999", 0),
    ],
)
@pytest.mark.gen_test
async def test_filters_are_in_the_address(client: Client, query: str, found: int) -> None:
    page = text(await client.ask(f"/admin/assignments?{query}", "admin"))
    assert (f"1–{found} of {found}" in page) == (found > 0)
    assert ("No assignment fits" in page) == (found == 0)


@pytest.mark.gen_test
async def test_filters_by_user_and_machine(client: Client, world: World) -> None:
    for query in (f"user={world.users['student']}", f"vm={world.vms['kali']}"):
        page = text(await client.ask(f"/admin/assignments?{query}", "admin"))
        assert "1–1 of 1" in page
        assert "only " in page
