from __future__ import annotations

import re

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import logins
from cyberlab.db.models import utcnow
from tests.web import PASSWORD, Client, World, text


@pytest.mark.gen_test
async def test_right_password_signs_in_and_goes_home(client: Client, world: World) -> None:
    response = await client.ask("/auth/login", form={"username": "student", "password": PASSWORD})
    assert (response.code, response.headers["Location"]) == (303, "/")
    cookie = next(value for value in response.headers.get_list("Set-Cookie") if value.startswith("cyberlab="))
    assert re.search("; HttpOnly", cookie)
    assert re.search("; SameSite=Lax", cookie)
    assert re.search("; Path=/(;|$)", cookie)
    assert not re.search("Max-Age|expires", cookie, re.I)
    world.tokens["fresh"] = cookie.split("=", 1)[1].split(";")[0]
    assert (await client.ask("/", "fresh")).headers["Location"] == "/student"


@pytest.mark.parametrize(("who", "home"), [("student", "/student"), ("teacher", "/teacher"), ("admin", "/admin")])
@pytest.mark.gen_test
async def test_each_role_has_its_home(client: Client, who: str, home: str) -> None:
    assert (await client.ask("/", who)).headers["Location"] == home
    assert (await client.ask("/auth/login", who)).headers["Location"] == home
    assert (await client.ask(home, who)).code == 200


@pytest.mark.gen_test
async def test_wrong_password_keeps_the_name_and_not_the_password(client: Client) -> None:
    response = await client.ask("/auth/login", form={"username": "stu<dent", "password": "wrong-secret"})
    assert response.code == 401
    assert 'value="stu&lt;dent"' in text(response)
    assert "do not match" in text(response)
    assert "wrong-secret" not in text(response)
    assert not any("cyberlab=" in value for value in response.headers.get_list("Set-Cookie"))


@pytest.mark.parametrize(
    ("username", "password", "words"),
    [
        ("", PASSWORD, "Please give"),
        ("student", "", "Please give"),
        ("student", "x" * 73, "A password has at most 72 bytes in UTF-8"),
        ("x" * 100_000, "short", "do not match"),
        ("student\x00", "short", "do not match"),
    ],
)
@pytest.mark.gen_test
async def test_odd_input_is_refused_on_the_same_page(client: Client, username: str, password: str, words: str) -> None:
    response = await client.ask("/auth/login", form={"username": username, "password": password})
    assert response.code == 401
    assert words in text(response)
    assert len(response.body) < 10_000


@pytest.mark.parametrize(
    ("next_", "goes"),
    [("/student/console/7", "/student/console/7"), ("//evil.example", "/"), ("https://evil.example/", "/")],
)
@pytest.mark.gen_test
async def test_next_leads_to_our_own_pages_only(client: Client, next_: str, goes: str) -> None:
    form = {"username": "student", "password": PASSWORD, "next": next_}
    assert (await client.ask("/auth/login", form=form)).headers["Location"] == goes


@pytest.mark.gen_test
async def test_form_carries_next(client: Client) -> None:
    page = text(await client.ask("/auth/login?next=%2Fadmin%2Fusers%3Fq%3Da"))
    assert 'name="next" value="/admin/users?q=a"' in page
    assert 'name="next"' not in text(await client.ask("/auth/login?next=%2F%2Fevil.example"))


@pytest.mark.gen_test
async def test_sign_out_ends_the_login_session_and_its_consoles(client: Client, world: World) -> None:
    login = await world.portal.logins.current(world.tokens["student"])
    assert login is not None
    ended: list[str] = []
    request = ConsoleRequest(login.user_id, "student", login.session_id, world.vms["kali"], "kali")
    stranger = ConsoleRequest(world.users["other"], "other", login.session_id + 99, world.vms["other"], "other")
    with world.portal.registry.entry(request, ended.append), world.portal.registry.entry(stranger, lambda _: 1 / 0):
        response = await client.ask("/auth/logout", "student", form={})
    assert (response.code, response.headers["Location"]) == (303, "/auth/login")
    assert ended == ["signed-out"]
    found = await world.database.run(logins.find, world.tokens["student"], utcnow(), 3600.0)
    assert found is None
    assert (await client.ask("/student", "student")).code == 303


@pytest.mark.gen_test
async def test_signing_out_takes_a_post(client: Client) -> None:
    assert (await client.ask("/auth/logout", "student")).code == 405
    assert (await client.ask("/student", "student")).code == 200
