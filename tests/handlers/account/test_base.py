from __future__ import annotations

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import audit, factors, logins
from cyberlab.db.models import utcnow
from tests.handlers.jar import Jar
from tests.web import PASSWORD, TEST, Client, World, text

NEW = "tulip-forge-4821"


def _form(**more: str) -> dict[str, str]:
    return {"old": PASSWORD, "new": NEW, "again": NEW} | more


@pytest.mark.gen_test
async def test_a_new_password_signs_out_everywhere_else(jar: Jar, world: World) -> None:
    await jar.password("student")
    assert (await jar.ask("/account/password")).code == 200
    ended: list[str] = []
    mine = await world.portal.logins.current(jar.cookies["cyberlab"])
    theirs = await world.portal.logins.current(world.tokens["student"])
    assert mine is not None
    assert theirs is not None
    here = ConsoleRequest(mine.user_id, "student", mine.session_id, world.vms["kali"], "kali")
    there = ConsoleRequest(mine.user_id, "student", theirs.session_id, world.vms["kali"], "kali")
    with world.portal.registry.entry(here, lambda _: 1 / 0), world.portal.registry.entry(there, ended.append):
        response = await jar.ask("/account/password", _form())
    assert (response.code, response.headers["Location"]) == (303, "/account")
    assert ended == ["signed-out"]
    assert "was changed" in text(await jar.ask("/account"))
    assert await world.portal.logins.current(world.tokens["student"]) is None
    jar.cookies.pop("cyberlab")
    assert (await jar.password("student")).code == 401
    await jar.password("student", NEW)
    assert jar.signed_in


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"old": "wrong"}, "not your present password"),
        ({"old": ""}, "give your present password"),
        ({"again": "tulip-forge-4822"}, "not the same"),
        ({"new": "short", "again": "short"}, "at least 8"),
        ({"new": "password1234", "again": "password1234"}, "too easy to guess"),
        ({"new": "x" * 73, "again": "x" * 73}, "72 bytes"),
        ({"new": "cyberlabstudent", "again": "cyberlabstudent"}, "too easy to guess"),
    ],
)
@pytest.mark.gen_test
async def test_what_is_wrong_is_said_and_never_sent_back(
    jar: Jar, world: World, form: dict[str, str], words: str
) -> None:
    await jar.password("student")
    response = await jar.ask("/account/password", _form(**form))
    assert response.code == 422
    assert words in text(response)
    for value in _form(**form).values():
        assert not value or f'value="{value}"' not in text(response)
    jar.cookies.pop("cyberlab")
    await jar.password("student")
    assert jar.signed_in


@pytest.mark.gen_test
async def test_the_present_password_cannot_be_guessed_from_an_open_page(jar: Jar, world: World) -> None:
    await jar.password("student")
    for _ in range(7):
        response = await jar.ask("/account/password", _form(old="guess"))
    assert "Too many sign-ins have failed" in text(response)
    assert "Too many" in text(await jar.ask("/account/password", _form()))
    rows = (await world.database.run(audit.page)).rows
    assert any(row.action == "user.password-failure" for row in rows)


@pytest.mark.gen_test
async def test_a_password_of_elsewhere_is_changed_there(jar: Jar, world: World) -> None:
    await jar.password("student")
    with world.database.transaction() as s:
        user = factors._lock(s, world.users["student"])
        user.backend, before = "campus", user.password_hash
    assert "kept by your university" in text(await jar.ask("/account/password"))
    assert (await jar.ask("/account/password", _form())).code == 200
    with world.database.transaction() as s:
        assert factors._lock(s, world.users["student"]).password_hash == before


@pytest.mark.gen_test
async def test_signing_out_there(jar: Jar, world: World) -> None:
    await jar.password("student")
    theirs = await world.portal.logins.current(world.tokens["student"])
    others = await world.portal.logins.current(world.tokens["other"])
    assert theirs is not None
    assert others is not None
    page = text(await jar.ask("/account"))
    assert "Firefox on Linux" in page
    assert f'action="/account/sessions/{theirs.session_id}/end"' in page
    assert f"/account/sessions/{others.session_id}/end" not in page
    ended: list[str] = []
    request = ConsoleRequest(theirs.user_id, "student", theirs.session_id, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, ended.append):
        assert (await jar.ask(f"/account/sessions/{theirs.session_id}/end", {})).code == 303
        assert (await jar.ask(f"/account/sessions/{others.session_id}/end", {})).code == 303
    assert ended == ["signed-out"]
    assert await world.portal.logins.current(world.tokens["student"]) is None
    assert await world.portal.logins.current(world.tokens["other"]) is not None
    assert (await jar.ask("/account")).code == 200


@pytest.mark.gen_test
async def test_signing_out_everywhere_else(jar: Jar, world: World) -> None:
    await jar.password("student")
    await jar.ask("/account/sessions/end", {})
    assert await world.portal.logins.current(world.tokens["student"]) is None
    assert await world.portal.logins.current(world.tokens["other"]) is not None
    found = await world.database.run(logins.of_user, world.users["student"], utcnow(), 3600.0)
    assert len(found) == 1
    assert "Sign out everywhere else" not in text(await jar.ask("/account"))


@pytest.mark.gen_test
async def test_an_admin_takes_second_factors_off(client: Client, jar: Jar, world: World) -> None:
    student = world.users["student"]
    assert "Reset second factors" not in text(await client.ask(f"/admin/users/{student}", "admin"))
    await jar.password("student")
    await jar.enrol()
    assert "Reset second factors" in text(await client.ask(f"/admin/users/{student}", "admin"))
    assert "Reset the second factors of student?" in text(await client.ask(f"/admin/users/{student}/factors", "admin"))
    assert (await client.ask(f"/admin/users/{student}/factors", "admin", form={})).code == 303
    assert await world.database.run(factors.enrolled, student) == frozenset()
    assert (await jar.ask("/account")).code == 303
    rows = (await world.database.run(audit.page)).rows
    assert any((row.action, row.actor) == ("factor.reset", "admin") for row in rows)
    assert (await world.database.run(factors.reset, TEST, student)) is False
