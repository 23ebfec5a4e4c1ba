from __future__ import annotations

import json
import re

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import audit, users
from cyberlab.db.models import Role
from tests.web import PASSWORD, TEST, Client, World, text

NEW = {"username": "Anna", "display_name": "Anna A.", "email": "", "role": "teacher", "password": "tulip-forge-4821"}


def _crowd(world: World) -> None:
    with world.database.transaction() as s:
        for number in range(60):
            users.create(s, TEST, username=f"crowd{number:02}", role=Role.STUDENT)


@pytest.mark.gen_test
async def test_list_is_searched_and_paged(client: Client, world: World) -> None:
    _crowd(world)
    page = text(await client.ask("/admin/users?q=crowd&role=student", "admin"))
    assert "1–50 of 60" in page
    assert "crowd49" in page
    assert "crowd50" not in page
    assert 'href="/admin/users?q=crowd&amp;role=student&amp;page=2"' in page
    second = text(await client.ask("/admin/users?q=crowd&role=student&page=2", "admin"))
    assert "51–60 of 60" in second
    assert "crowd49" not in second
    assert "Later" not in second


@pytest.mark.parametrize("query", ["page=9999", "page=99999999999999999999", "page=-1", "page=x", "page=²", "role=x"])
@pytest.mark.gen_test
async def test_odd_pages_end_at_the_list(client: Client, query: str) -> None:
    response = await client.ask(f"/admin/users?{query}", "admin")
    if response.code == 302:
        response = await client.ask(response.headers["Location"], "admin")
    assert response.code == 200
    assert "student" in text(response)


@pytest.mark.gen_test
async def test_nobody_found_says_so(client: Client) -> None:
    assert "Nobody fits that search" in text(await client.ask("/admin/users?q=%3Cnone%3E", "admin"))


@pytest.mark.gen_test
async def test_create_and_sign_in(client: Client, world: World) -> None:
    response = await client.ask("/admin/users/new", "admin", form=NEW)
    assert (response.code, response.headers["Location"]) == (303, "/admin/users")
    user = await world.database.run(users.by_name, "anna")
    assert user is not None
    assert (user.display_name, user.role, user.email) == ("Anna A.", Role.TEACHER, None)
    signed = await client.ask("/auth/login", form={"username": "ANNA", "password": "tulip-forge-4821"})
    assert signed.code == 303


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"username": ""}, "username", "Please fill this in"),
        ({"username": "student"}, "username", "already is a user"),
        ({"username": "a b"}, "username", "no spaces"),
        ({"username": "x" * 300}, "username", "at most 255"),
        ({"password": "short"}, "password", "at least 8"),
        ({"password": "x" * 73}, "password", "at most 72"),
        ({"password": "password1234"}, "password", "too easy to guess"),
        ({"password": "anna-anna"}, "password", "too easy to guess"),
        ({"email": "nowhere"}, "email", "no mail address"),
        ({"role": "king"}, "role", "choose one"),
    ],
)
@pytest.mark.gen_test
async def test_bad_input_comes_back_with_its_message(
    client: Client, world: World, change: dict[str, str], field: str, words: str
) -> None:
    response = await client.ask("/admin/users/new", "admin", form=NEW | {"display_name": 'Kept "so"'} | change)
    assert response.code == 422
    page = text(response)
    assert 'value="Kept &quot;so&quot;"' in page
    assert re.search(rf'<small class="field-error" id="{field}-error">[^<]*{words}', page)
    assert re.search(rf'id="{field}"[^>]*aria-describedby="[^"]*{field}-error', page, re.S)
    assert "tulip-forge-4821" not in page
    assert await world.database.run(users.by_name, "anna") is None


@pytest.mark.gen_test
async def test_edit(client: Client, world: World) -> None:
    path = f"/admin/users/{world.users['student']}"
    assert 'value="A. Student"' in text(await client.ask(path, "admin"))
    form = {"display_name": "B. Student", "email": "b@example.edu", "role": "teacher", "version": "1"}
    assert (await client.ask(path, "admin", form=form)).code == 303
    user = await world.database.run(users.get, world.users["student"])
    assert user is not None
    assert (user.display_name, user.email, user.role) == ("B. Student", "b@example.edu", Role.TEACHER)


@pytest.mark.gen_test
async def test_the_last_admin_stays(client: Client, world: World) -> None:
    path = f"/admin/users/{world.users['admin']}"
    for where, form in (
        (path, {"display_name": "", "email": "", "role": "student", "version": "1"}),
        (f"{path}/active", {"active": "0"}),
        (f"{path}/remove", {}),
    ):
        response = await client.ask(where, "admin", form=form)
        assert response.code == 422, where
        assert "last active admin" in text(response), where
    assert (await client.ask("/admin", "admin")).code == 200


@pytest.mark.gen_test
async def test_an_open_form_of_a_removed_user(client: Client, world: World) -> None:
    path = f"/admin/users/{world.users['other']}"
    assert (await client.ask(f"{path}/remove", "admin", form={})).code == 303
    for where in (path, f"{path}/remove", f"{path}/active", f"{path}/password"):
        response = await client.ask(where, "admin", form={"role": "student", "password": "tulip-forge-4821"})
        assert response.code == 404, where
        assert "no longer exists" in text(response)


@pytest.mark.gen_test
async def test_disable_ends_everything_and_enable_brings_it_back(client: Client, world: World) -> None:
    path = f"/admin/users/{world.users['student']}/active"
    ended: list[str] = []
    request = ConsoleRequest(world.users["student"], "student", 1, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, ended.append):
        assert (await client.ask(path, "admin", form={"active": "0"})).code == 303
    assert ended == ["deactivated"]
    assert (await client.ask("/student", "student")).code == 303
    sign_in = {"username": "student", "password": PASSWORD}
    assert (await client.ask("/auth/login", form=sign_in)).code == 401
    assert "Enable student?" in text(await client.ask(path, "admin"))
    assert (await client.ask(path, "admin", form={"active": "1"})).code == 303
    assert (await client.ask("/auth/login", form=sign_in)).code == 303


@pytest.mark.gen_test
async def test_signing_somebody_out_everywhere(client: Client, world: World) -> None:
    student = world.users["student"]
    assert f"/admin/users/{student}/sign-out" in text(await client.ask(f"/admin/users/{student}", "admin"))
    assert "Sign student out everywhere?" in text(await client.ask(f"/admin/users/{student}/sign-out", "admin"))
    mine = await world.portal.logins.current(world.tokens["student"])
    assert mine is not None
    ended: list[str] = []
    request = ConsoleRequest(student, "student", mine.session_id, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, ended.append):
        assert (await client.ask(f"/admin/users/{student}/sign-out", "admin", form={})).code == 303
    assert ended == ["signed-out"]
    assert (await client.ask("/student", "student")).code == 303
    assert (await client.ask("/student", "other")).code == 200
    rows = (await world.database.run(audit.page)).rows
    assert any((row.action, row.actor, row.object) == ("user.sign-out", "admin", "user student") for row in rows)


@pytest.mark.gen_test
async def test_new_password(client: Client, world: World) -> None:
    path = f"/admin/users/{world.users['student']}/password"
    refused = await client.ask(path, "admin", form={"password": "short"})
    assert (refused.code, "At least 8" in text(refused)) == (422, True)
    assert (await client.ask(path, "admin", form={"password": "quite another"})).code == 303
    assert (await client.ask("/student", "student")).code == 303
    assert (await client.ask("/auth/login", form={"username": "student", "password": PASSWORD})).code == 401
    assert (await client.ask("/auth/login", form={"username": "student", "password": "quite another"})).code == 303


@pytest.mark.gen_test
async def test_remove_asks_first(client: Client, world: World) -> None:
    path = f"/admin/users/{world.users['other']}/remove"
    assert "Remove other?" in text(await client.ask(path, "admin"))
    assert await world.database.run(users.get, world.users["other"]) is not None
    assert (await client.ask(path, "admin", form={})).headers["Location"] == "/admin/users"
    assert await world.database.run(users.get, world.users["other"]) is None


@pytest.mark.gen_test
async def test_suggestions(client: Client) -> None:
    answer = json.loads((await client.ask("/admin/suggest/users?q=stud", "admin")).body)
    assert answer == {"suggestions": [{"value": "student", "text": "A. Student"}]}


@pytest.mark.gen_test
async def test_overview_counts(client: Client) -> None:
    page = text(await client.ask("/admin", "admin"))
    assert re.search(r"<strong>4</strong>\s*users", page)
    assert re.search(r"<strong>3</strong>\s*machines", page)


@pytest.mark.gen_test
async def test_two_admins_edit_the_same_user(client: Client, world: World) -> None:
    path = f"/admin/users/{world.users['student']}"
    form = {"display_name": "Theirs", "email": "", "role": "teacher", "version": "1"}
    assert (await client.ask(path, "admin", form=form)).code == 303
    told = await client.ask(path, "admin", form=form | {"display_name": "Mine", "role": "student"})
    assert told.code == 422
    page = text(told)
    assert "Somebody else has changed this" in page
    assert 'value="Mine"' in page
    assert "There now: Theirs" in page
    assert "There now: teacher" in page


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("role=teacher", ["teacher"]),
        ("active=0", []),
        ("class={group}", ["student", "teacher"]),
        ("backend=ldap", []),
        ("backend=local&role=admin", ["admin"]),
        ("role=king&active=2&class=x", ["admin", "other", "student", "teacher"]),
    ],
)
@pytest.mark.gen_test
async def test_filters_are_in_the_address(client: Client, world: World, query: str, names: list[str]) -> None:
    page = text(await client.ask(f"/admin/users?{query.format(group=world.group)}", "admin"))
    assert re.findall(r'aria-label="Edit (\w+)"', page) == names


@pytest.mark.gen_test
async def test_what_somebody_has_is_on_their_page(client: Client, world: World) -> None:
    page = text(await client.ask(f"/admin/users/{world.users['student']}", "admin"))
    assert "Network security" in page
    assert f'href="/admin/assignments/{world.assignment}">kali' in page


@pytest.mark.gen_test
async def test_many_are_disabled_at_once_and_enabled_again(client: Client, world: World) -> None:
    bulk = "/admin/users/bulk?active=1"
    asked = text(await client.ask(bulk, "admin", form={"all": "1"}))
    assert "Disable 3 users?" in asked
    assert "You are among them" in asked
    ended: list[str] = []
    request = ConsoleRequest(world.users["student"], "student", 1, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, ended.append):
        done = await client.ask(bulk, "admin", form={"all": "1", "count": "3"})
        assert done.code == 303
    assert ended == ["deactivated"]
    assert (await client.ask("/student", "student")).code == 303
    assert (await client.ask("/admin", "admin")).code == 200
    sign_in = {"username": "student", "password": PASSWORD}
    assert (await client.ask("/auth/login", form=sign_in)).code == 401
    assert "3 users were disabled" in text(await client.ask(done.headers["Location"], "admin"))
    assert (await client.ask(done.headers["Location"], "admin", form={})).code == 303
    assert (await client.ask("/auth/login", form=sign_in)).code == 303


@pytest.mark.gen_test
async def test_more_than_were_shown_are_not_disabled(client: Client, world: World) -> None:
    told = await client.ask("/admin/users/bulk", "admin", form={"id": str(world.users["other"]), "count": "2"})
    assert (told.code, "Something has changed since" in text(told)) == (422, True)
    user = await world.database.run(users.get, world.users["other"])
    assert user is not None
    assert user.active
    for form in ({}, {"id": "x"}):
        assert (await client.ask("/admin/users/bulk", "admin", form=form)).headers["Location"] == "/admin/users"
