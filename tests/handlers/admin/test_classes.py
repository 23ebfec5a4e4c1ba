"""Classes and their members, as admins keep them."""

from __future__ import annotations

import re

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import groups, identities, members, users
from cyberlab.db.models import MembershipRole, Role
from tests.web import TEST, Client, World, text


async def _members(world: World) -> dict[str, str]:
    page = await world.database.run(members.page, world.group)
    return {row.user.username: row.role.value for row in page.rows}


@pytest.mark.gen_test
async def test_list_and_search(client: Client, world: World) -> None:
    page = text(await client.ask("/admin/classes?q=network", "admin"))
    assert "1–1 of 1" in page
    assert re.search(r"Students\">1<.*Teachers\">1<.*Machines\">0<", page, re.S)
    assert "No class fits" in text(await client.ask("/admin/classes?q=history", "admin"))
    assert "No class is archived" in text(await client.ask("/admin/classes?archived=1", "admin"))
    assert (await client.ask("/admin/classes?page=9", "admin")).headers["Location"] == "/admin/classes"


@pytest.mark.gen_test
async def test_make_one(client: Client, world: World) -> None:
    response = await client.ask("/admin/classes/new", "admin", form={"name": "<script>alert(1)</script> Ω"})
    assert response.code == 303
    page = text(await client.ask(response.headers["Location"], "admin"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; Ω" in page
    assert "<script>alert" not in page
    for name, words in (("Network security", "There already is a class"), ("", "Please fill this in")):
        refused = await client.ask("/admin/classes/new", "admin", form={"name": name})
        assert refused.code == 422
        assert words in text(refused)
        assert f'value="{name}"' in text(refused)


@pytest.mark.gen_test
async def test_two_admins_rename_the_same_class(client: Client, world: World) -> None:
    path = f"/admin/classes/{world.group}"
    match = re.search(r'name="version" value="(\d+)"', text(await client.ask(path, "admin")))
    assert match is not None
    form = {"version": match[1]}
    assert (await client.ask(path, "admin", form=form | {"name": "Theirs"})).code == 303
    told = await client.ask(path, "admin", form=form | {"name": "Mine"})
    assert told.code == 422
    page = text(told)
    assert "Somebody else has changed this" in page
    assert 'value="Mine"' in page
    assert "There now: Theirs" in page
    assert (await world.database.run(groups.get, world.group)).name == "Theirs"  # type: ignore[union-attr]
    again = re.search(r'name="version" value="(\d+)"', page)
    assert again is not None
    assert (await client.ask(path, "admin", form={"name": "Mine", "version": again[1]})).code == 303
    assert (await client.ask(path, "admin", form={"name": "Blind"})).code == 422  # a form without a version


@pytest.mark.gen_test
async def test_many_names_at_once(client: Client, world: World) -> None:
    path = f"/admin/classes/{world.group}/members"
    await world.database.run(users.create, TEST, username="änne", role=Role.STUDENT, email="aenne@example.edu")
    form = {"names": "OTHER, student;\naenne@example.edu", "role": "student"}
    assert (await client.ask(path, "admin", form=form)).code == 303
    assert (await _members(world)).keys() == {"teacher", "student", "other", "änne"}


@pytest.mark.gen_test
async def test_unknown_names_add_nobody_and_stay_in_the_form(client: Client, world: World) -> None:
    path = f"/admin/classes/{world.group}/members"
    form = {"names": "other\n<b>who</b>", "role": "student"}
    refused = await client.ask(path, "admin", form=form)
    assert refused.code == 422
    page = text(refused)
    assert "&lt;b&gt;who&lt;/b" in page
    assert "Nobody was added." in page
    assert re.search(r"<textarea[^>]*>\s*other\s+&lt;b&gt;who", page)
    assert "other" not in await _members(world)
    assert (await client.ask(path, "admin", form=form | {"known": "1"})).code == 303
    assert "other" in await _members(world)
    for names in ("", " ,; "):
        assert (await client.ask(path, "admin", form={"names": names, "role": "student"})).code == 422
    many = " ".join(f"n{number}" for number in range(2001))
    assert "At most 2000 names" in text(await client.ask(path, "admin", form={"names": many, "role": "student"}))


@pytest.mark.gen_test
async def test_roles_and_removal(client: Client, world: World) -> None:
    path = f"/admin/classes/{world.group}/members/change"
    ids = str(world.users["student"])
    assert (await client.ask(path, "admin", form={"id": ids, "do": "teacher"})).code == 303
    assert (await _members(world))["student"] == "teacher"
    assert (await client.ask(path, "admin", form={"id": ids, "do": "remove"})).code == 303
    assert "student" not in await _members(world)
    for bad in ({}, {"id": ids}, {"id": "x"}, {"id": "99999999999999"}):  # nobody, gone, nonsense
        assert (await client.ask(path, "admin", form={"do": "remove", **bad})).code == 303
    assert list(await _members(world)) == ["teacher"]


@pytest.mark.gen_test
async def test_who_comes_from_the_directory_is_not_taken_out_unasked(client: Client, world: World) -> None:
    def enter() -> int:
        with world.database.transaction() as s:
            user = users.create(s, TEST, username="dora", role=Role.STUDENT, backend="ldap")
            identities.enter_classes(s, TEST, user, ["Network security"])
            return user.id

    form = {"id": str(enter()), "do": "remove"}
    assert "directory (ldap)" in text(await client.ask(f"/admin/classes/{world.group}", "admin"))
    path = f"/admin/classes/{world.group}/members/change"
    asked = await client.ask(path, "admin", form=form)
    assert asked.code == 200
    assert "The directory put one of them here" in text(asked)
    assert "dora" in await _members(world)
    assert (await client.ask(path, "admin", form=form | {"sure": "1"})).code == 303
    assert "dora" not in await _members(world)


@pytest.mark.gen_test
async def test_archive_says_what_ends_and_can_be_taken_back(client: Client, world: World) -> None:
    from cyberlab.db import assignments

    await world.database.run(assignments.create, TEST, vm_id=world.vms["spare"], group_id=world.group)
    path = f"/admin/classes/{world.group}/archive"
    request = ConsoleRequest(world.users["student"], "student", 1, world.vms["spare"], "spare")
    with world.portal.registry.entry(request, lambda reason: None):
        asked = text(await client.ask(path, "admin"))
    assert "One assignment that is in force ends." in asked
    assert "One console is open" in asked
    assert "spare" in text(await client.ask("/student", "student"))
    assert (await client.ask(path, "admin", form={"archive": "1"})).code == 303
    assert "spare" not in text(await client.ask("/student", "student"))
    assert "Network security" in text(await client.ask("/admin/classes?archived=1", "admin"))
    assert "Bring Network security back?" in text(await client.ask(path, "admin"))
    assert (await client.ask(path, "admin", form={"archive": "0"})).code == 303
    assert "spare" in text(await client.ask("/student", "student"))


@pytest.mark.gen_test
async def test_remove_and_then_every_open_form_says_so(client: Client, world: World) -> None:
    path = f"/admin/classes/{world.group}"
    assert "1 students" in text(await client.ask(f"{path}/remove", "admin"))
    assert (await client.ask(f"{path}/remove", "admin", form={})).headers["Location"] == "/admin/classes"
    for where in (path, f"{path}/members", f"{path}/members/change", f"{path}/archive", f"{path}/remove"):
        for form in (None, {"name": "x", "names": "student", "role": "student"}):
            response = await client.ask(where, "admin", form=form)
            assert response.code == 404, where
            assert "no longer exists" in text(response)


@pytest.mark.gen_test
async def test_a_long_class_has_pages_that_keep_the_search(client: Client, world: World) -> None:
    def fill() -> None:
        with world.database.transaction() as s:
            found = [users.create(s, TEST, username=f"s{number:03}", role=Role.STUDENT) for number in range(60)]
            members.add_many(s, TEST, world.group, found, MembershipRole.STUDENT)

    fill()
    page = text(await client.ask(f"/admin/classes/{world.group}?q=s0", "admin"))
    assert "1–50 of 60" in page
    assert f"/admin/classes/{world.group}?q=s0&amp;page=2" in page
