"""What changes how one signs in takes a sign-in, or its confirmation, that is a few minutes old at most."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from cyberlab.db import audit, factors
from cyberlab.db.models import LoginSession, User, utcnow
from cyberlab.handlers import recent
from tests.handlers.jar import Jar
from tests.web import PASSWORD, World, text

GUARDED = [
    "/account/totp",
    "/account/totp/1/remove",
    "/account/passkeys",
    "/account/passkeys/1/remove",
    "/account/recovery",
]


def _later(world: World, seconds: float) -> None:
    """Let every login session have begun that long ago."""
    with world.database.transaction() as s:
        s.execute(update(LoginSession).values(created_at=utcnow() - timedelta(seconds=seconds)))


def _elsewhere(world: World) -> None:
    """Let the student be somebody who comes by single sign-on."""
    with world.database.transaction() as s:
        s.execute(update(User).where(User.username == "student").values(backend="uni", subject="sub"))


async def _actions(world: World) -> list[tuple[str, str]]:
    return [(row.action, row.detail) for row in (await world.database.run(audit.page)).rows]


@pytest.mark.gen_test
async def test_a_fresh_sign_in_is_not_asked(jar: Jar) -> None:
    await jar.password("student")
    assert (await jar.ask("/account/totp")).code == 200
    assert (await jar.ask("/account/confirm?next=/account/totp")).headers["Location"] == "/account/totp"


@pytest.mark.gen_test
async def test_an_older_one_shows_the_password_once_more(jar: Jar, world: World) -> None:
    await jar.password("student")
    _later(world, recent.BEGIN + 1)
    for path in GUARDED:
        response = await jar.ask(path)
        assert (response.code, response.headers["Location"]) == (
            303,
            f"/account/confirm?next={path.replace('/', '%2F')}",
        )
    picture = await jar.ask("/account/totp/picture")
    assert picture.code == 200  # the page that shows it was opened in time
    page = text(await jar.ask("/account/confirm?next=/account/totp"))
    assert 'autocomplete="current-password"' in page
    assert 'name="next" value="/account/totp"' in page

    wrong = await jar.ask("/account/confirm", {"password": "guess", "next": "/account/totp"})
    assert (wrong.code, "not your present password" in text(wrong)) == (422, True)
    assert (await jar.ask("/account/confirm", {"password": ""})).code == 422
    assert ("user.password-failure", "") in await _actions(world)
    assert (await jar.ask("/account/totp")).code == 303

    right = await jar.ask("/account/confirm", {"password": PASSWORD, "next": "/account/totp"})
    assert (right.code, right.headers["Location"]) == (303, "/account/totp")
    _, codes = await jar.enrol()
    assert len(codes) == 10
    for path in GUARDED:
        assert (await jar.ask(path)).code == 200, path


@pytest.mark.gen_test
async def test_what_was_begun_in_time_may_be_finished(jar: Jar, world: World) -> None:
    await jar.password("student")
    await jar.enrol()
    _later(world, recent.FINISH - 10)
    assert (await jar.ask("/account/recovery")).code == 303
    assert (await jar.ask("/account/recovery", {})).code == 200
    _later(world, recent.FINISH + 1)
    assert (await jar.ask("/account/recovery", {})).headers["Location"].startswith("/account/confirm")
    assert (await jar.ask("/account/totp/1/remove", {})).headers["Location"].startswith("/account/confirm")
    assert await world.database.run(factors.enrolled, world.users["student"]) == {"totp"}


@pytest.mark.gen_test
async def test_the_confirmation_is_for_that_login_session(jar: Jar, world: World) -> None:
    await jar.password("student")
    _later(world, 3600)
    await jar.ask("/account/confirm", {"password": PASSWORD})
    assert (await jar.ask("/account/totp")).code == 200
    jar.cookies["cyberlab"] = world.tokens["student"]
    assert (await jar.ask("/account/totp")).code == 303
    jar.cookies["cyberlab-recent"] = "forged"
    assert (await jar.ask("/account/totp")).code == 303


@pytest.mark.gen_test
async def test_guessing_is_slowed_down_as_at_the_sign_in(jar: Jar, world: World) -> None:
    await jar.password("student")
    _later(world, 3600)
    for _ in range(7):
        response = await jar.ask("/account/confirm", {"password": "guess"})
    assert (response.code, int(response.headers["Retry-After"]) > 0) == (429, True)
    assert (await jar.ask("/account/confirm", {"password": PASSWORD})).code == 429


@pytest.mark.gen_test
async def test_by_single_sign_on_a_second_factor_is_shown(jar: Jar, world: World) -> None:
    await jar.password("student")
    app, _ = await jar.enrol()
    _elsewhere(world)
    _later(world, 3600)
    page = text(await jar.ask("/account/confirm"))
    assert 'autocomplete="one-time-code"' in page
    assert "current-password" not in page
    assert (await jar.ask("/account/confirm", {"password": PASSWORD})).code == 422
    used = await jar.ask("/account/confirm", {"code": app.code(-1)})  # at the enrolment
    assert (used.code, "A code is good once" in text(used)) == (422, True)
    assert ("login.factor-failure", "totp") in await _actions(world)
    assert (await jar.ask("/account/recovery")).code == 303
    assert (await jar.ask("/account/confirm", {"code": app.code(), "next": "/account/recovery"})).code == 303
    assert (await jar.ask("/account/recovery")).code == 200
    refused = await jar.ask("/account/confirm/passkey", {"challenge": "forged", "answer": "{}"})
    assert (refused.code, "not accepted" in text(refused)) == (422, True)


@pytest.mark.gen_test
async def test_by_single_sign_on_without_one_it_takes_another_sign_in(jar: Jar, world: World) -> None:
    await jar.password("student")
    _elsewhere(world)
    _later(world, 3600)
    assert 'name="again" value="1"' in text(await jar.ask("/account/confirm?next=/account/totp"))
    response = await jar.ask("/account/confirm", {"again": "1", "next": "/account/totp"})
    assert (response.code, response.headers["Location"]) == (303, "/auth/login?next=%2Faccount%2Ftotp")
    assert not jar.signed_in
    _later(world, 0)
    assert ("login.sign-out", "") in await _actions(world)


@pytest.mark.parametrize("next_", ["https://evil.example", "//evil.example", "/student", "/account/../admin", ""])
@pytest.mark.gen_test
async def test_it_leads_to_the_account_alone(jar: Jar, world: World, next_: str) -> None:
    await jar.password("student")
    _later(world, 3600)
    response = await jar.ask("/account/confirm", {"password": PASSWORD, "next": next_})
    assert response.headers["Location"] == "/account"
