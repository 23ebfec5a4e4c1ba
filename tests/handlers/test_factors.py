from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from tornado.web import create_signed_value

from cyberlab.auth import login
from cyberlab.auth.config import AuthConfig, Policy, SecondFactor
from cyberlab.db import audit, factors, users
from cyberlab.db.models import RememberedDevice, User, utcnow
from tests.handlers.jar import App, Jar
from tests.web import TEST, World, text


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, object]:
    """Teachers need a second factor; with a grace of a week where a test asks for it."""
    grace = getattr(request, "param", 0)
    policy = SecondFactor(student=Policy.OPTIONAL, teacher=Policy.REQUIRED, admin=Policy.OFF, grace_days=grace)
    return {"auth": AuthConfig(second_factor=policy)}


async def _enrolled(jar: Jar) -> tuple[App, list[str]]:
    """The student with an app, signed out again."""
    await jar.password("student")
    app, codes = await jar.enrol()
    await jar.ask("/auth/logout", {})
    assert not jar.signed_in
    return app, codes


async def _actions(world: World) -> list[tuple[str, str]]:
    page = await world.database.run(audit.page)
    return [(row.action, row.detail) for row in page.rows]


@pytest.mark.gen_test
async def test_with_an_app_the_password_alone_is_no_sign_in(jar: Jar, world: World) -> None:
    app, codes = await _enrolled(jar)
    assert len(set(codes)) == 10
    response = await jar.password("student", next_="/student/console/7")
    assert (response.code, response.headers["Location"]) == (303, "/auth/factor?next=%2Fstudent%2Fconsole%2F7")
    assert not jar.signed_in
    assert (await jar.ask("/student")).code == 303
    page = text(await jar.ask("/auth/factor?next=%2Fstudent%2Fconsole%2F7"))
    assert 'name="next" value="/student/console/7"' in page
    done = await jar.ask("/auth/factor", {"code": app.code(), "next": "/student/console/7"})
    assert (done.code, done.headers["Location"]) == (303, "/student/console/7")
    assert jar.signed_in
    assert "cyberlab-pending" not in jar.cookies
    assert "cyberlab-device" not in jar.cookies
    assert (await jar.ask("/student")).code == 200
    assert ("login.success", "second factor: totp") in await _actions(world)


@pytest.mark.gen_test
async def test_a_code_is_good_once_also_the_one_of_the_enrolment(jar: Jar, world: World) -> None:
    app, _ = await _enrolled(jar)
    for code, right in ((app.code(-1), False), (app.code(), True), (app.code(), False), (app.code(1), True)):
        jar.cookies.pop("cyberlab", None)
        await jar.password("student")
        response = await jar.ask("/auth/factor", {"code": f" {code[:3]} {code[3:]} "})
        assert response.code == (303 if right else 401)
        assert jar.signed_in == right
    assert ("login.factor-failure", "totp") in await _actions(world)


@pytest.mark.gen_test
async def test_a_recovery_code_is_good_once_however_it_is_typed(jar: Jar) -> None:
    _, codes = await _enrolled(jar)
    for code, right in ((codes[3].upper().replace("-", " "), True), (codes[3], False), (codes[4], True)):
        jar.cookies.pop("cyberlab", None)
        await jar.password("student")
        response = await jar.ask("/auth/factor", {"code": code})
        assert response.code == (303 if right else 401)
        assert jar.signed_in == right
    assert "you have 8 left" in text(await jar.ask("/student"))


@pytest.mark.gen_test
async def test_anothers_codes_are_worth_nothing(jar: Jar) -> None:
    _, codes = await _enrolled(jar)
    await jar.password("other")
    app, _ = await jar.enrol()
    await jar.ask("/auth/logout", {})
    await jar.password("student")
    for code in (app.code(), "000000", "", "x" * 5000, "é"):
        assert (await jar.ask("/auth/factor", {"code": code})).code == 401
    jar.cookies.clear()
    jar.cookies["_xsrf"] = "0123456789abcdef0123456789abcdef"
    await jar.password("other")
    assert (await jar.ask("/auth/factor", {"code": codes[0]})).code == 401


@pytest.mark.gen_test
async def test_guessing_is_slowed_down_and_the_right_code_has_to_wait_too(jar: Jar, world: World) -> None:
    app, _ = await _enrolled(jar)
    await jar.password("student")
    answers = [await jar.ask("/auth/factor", {"code": "000000"}) for _ in range(7)]
    assert {answer.code for answer in answers} == {401, 429}
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert (await jar.ask("/auth/factor", {"code": app.code()})).code == 429
    assert not jar.signed_in
    assert ("login.lock", "second factor") in await _actions(world)


@pytest.mark.gen_test
async def test_a_remembered_browser_is_not_asked_until_it_is_forgotten(jar: Jar, world: World) -> None:
    app, _ = await _enrolled(jar)
    await jar.password("student")
    await jar.ask("/auth/factor", {"code": app.code(), "remember": "1"})
    assert jar.cookies["cyberlab-device"]
    await jar.ask("/auth/logout", {})
    await jar.password("student")
    assert jar.signed_in
    page = text(await jar.ask("/account"))
    assert "Firefox on Linux" in page
    row = world.database.call(lambda s: s.query(RememberedDevice).one())
    assert row.token_hash != jar.cookies["cyberlab-device"]
    await jar.ask(f"/account/devices/{row.id}/forget", {})
    await jar.ask("/auth/logout", {})
    await jar.password("student")
    assert not jar.signed_in


@pytest.mark.gen_test
async def test_a_device_is_remembered_for_its_user_and_its_time(jar: Jar, world: World) -> None:
    app, _ = await _enrolled(jar)
    await jar.password("student")
    await jar.ask("/auth/factor", {"code": app.code(), "remember": "1"})
    await jar.ask("/auth/logout", {})
    await jar.password("other")
    await jar.enrol()
    await jar.ask("/auth/logout", {})
    await jar.password("other")
    assert not jar.signed_in
    with world.database.transaction() as s:
        s.query(RememberedDevice).update({"expires_at": utcnow() - timedelta(seconds=1)})
    await jar.password("student")
    assert not jar.signed_in


@pytest.mark.gen_test
async def test_who_needs_a_factor_enrols_before_the_first_page(jar: Jar, world: World) -> None:
    response = await jar.password("teacher", next_="/teacher")
    assert response.headers["Location"] == "/auth/enrol?next=%2Fteacher"
    assert not jar.signed_in
    page = await jar.ask("/auth/enrol?next=%2Fteacher")
    assert "Later" not in text(page)
    assert (await jar.ask("/auth/enrol", {"later": "1"})).code == 401
    picture = await jar.ask("/auth/enrol/picture")
    assert picture.headers["Content-Type"] == "image/svg+xml"
    assert picture.headers["Cache-Control"] == "no-store"
    assert picture.body.startswith(b"<svg ")
    app = App.shown(page)
    assert App.shown(await jar.ask("/auth/enrol")).code() == app.code()
    wrong = await jar.ask("/auth/enrol", {"code": "000000"})
    assert wrong.code == 422
    assert not jar.signed_in
    done = await jar.ask("/auth/enrol", {"code": app.code(-1), "next": "/teacher"})
    assert done.code == 200
    assert 'href="/teacher"' in text(done)
    assert jar.signed_in
    actions = [action for action, _ in await _actions(world)]
    assert {"factor.add", "factor.recovery-codes", "login.success"} <= set(actions)


@pytest.mark.parametrize("settings", [7], indirect=True)
@pytest.mark.gen_test
async def test_while_there_is_grace_the_enrolment_may_be_put_off(jar: Jar, world: World) -> None:
    await jar.password("teacher")
    assert "Later" in text(await jar.ask("/auth/enrol"))
    done = await jar.ask("/auth/enrol", {"later": "1", "next": "/teacher"})
    assert (done.code, done.headers["Location"]) == (303, "/teacher")
    assert jar.signed_in
    await jar.ask("/auth/logout", {})
    with world.database.transaction() as s:
        s.query(User).update({"factor_grace_until": utcnow() - timedelta(seconds=1)})
    await jar.password("teacher")
    assert "Later" not in text(await jar.ask("/auth/enrol"))
    assert (await jar.ask("/auth/enrol", {"later": "1"})).code == 401
    assert not jar.signed_in


@pytest.mark.gen_test
async def test_the_password_alone_cannot_enrol_a_second_app(jar: Jar, world: World) -> None:
    await jar.password("teacher")
    waiting = dict(jar.cookies)
    first = App.shown(await jar.ask("/auth/enrol"))
    await jar.ask("/auth/enrol", {"code": first.code(-1)})
    jar.cookies = waiting  # somebody else who knew the password, in the same minutes
    assert (await jar.ask("/auth/enrol")).headers["Location"] == "/auth/factor"
    assert (await jar.ask("/auth/enrol/picture")).headers["Location"] == "/auth/factor"
    assert (await jar.ask("/auth/enrol", {"code": first.code()})).headers["Location"] == "/auth/factor"
    assert not jar.signed_in
    assert len((await world.database.run(factors.overview, world.users["teacher"])).apps) == 1


@pytest.mark.gen_test
async def test_a_pending_cookie_is_ours_and_five_minutes_old_at_most(jar: Jar, world: World) -> None:
    app, _ = await _enrolled(jar)
    secret = world.config.secret_key.get_secret_value()
    value = json.dumps([world.users["student"], "local", time.time() - 301, "nonce"])
    late = create_signed_value(secret, "cyberlab-pending", value, clock=lambda: time.time() - 301)
    forged = create_signed_value("another secret", "cyberlab-pending", value)
    early = create_signed_value(secret, "cyberlab-pending", value)  # signed now, but says that it is old
    for cookie, status in ((late, 303), (forged, 303), (b"", 303), (early, 401)):
        jar.cookies["cyberlab-pending"] = cookie.decode()
        response = await jar.ask("/auth/factor", {"code": app.code()})
        assert response.code == status
        assert response.headers.get("Location", "/auth/login") == "/auth/login"
        assert not jar.signed_in
    assert login.PENDING_LIFETIME == 300


@pytest.mark.gen_test
async def test_a_reset_takes_all_of_it_away_at_once(jar: Jar, world: World) -> None:
    app, _ = await _enrolled(jar)
    await jar.password("student")
    await jar.ask("/auth/factor", {"code": app.code(), "remember": "1"})
    assert await world.database.run(factors.reset, TEST, world.users["student"])
    assert (await jar.ask("/student")).code == 303
    assert await world.database.run(factors.enrolled, world.users["student"]) == frozenset()
    assert not await world.database.run(factors.reset, TEST, world.users["student"])
    jar.cookies.pop("cyberlab", None)
    await jar.password("student")
    assert jar.signed_in


@pytest.mark.gen_test
async def test_where_it_is_off_nobody_adds_one(jar: Jar) -> None:
    await jar.password("admin")
    assert "Not used for your role" in text(await jar.ask("/account"))
    assert (await jar.ask("/account/totp")).code == 403


@pytest.mark.gen_test
async def test_the_last_one_stays_where_one_is_needed(jar: Jar, world: World) -> None:
    await jar.password("teacher")
    await jar.enrol("/auth/enrol")
    (app,) = (await world.database.run(factors.overview, world.users["teacher"])).apps
    response = await jar.ask(f"/account/totp/{app.id}/remove", {})
    assert response.code == 422
    assert "Add another one first" in text(response)
    await jar.enrol()
    assert (await jar.ask(f"/account/totp/{app.id}/remove", {})).code == 303
    assert len((await world.database.run(factors.overview, world.users["teacher"])).apps) == 1


@pytest.mark.gen_test
async def test_nobody_removes_anothers_app(jar: Jar, world: World) -> None:
    await _enrolled(jar)
    (app,) = (await world.database.run(factors.overview, world.users["student"])).apps
    await jar.password("other")
    assert (await jar.ask(f"/account/totp/{app.id}/remove", {})).code == 404
    assert (await jar.ask("/account/totp/999999999999999999/remove", {})).code == 404


@pytest.mark.gen_test
async def test_the_secret_is_not_in_the_database_in_the_clear(jar: Jar, world: World) -> None:
    await jar.password("student")
    app = App.shown(await jar.ask("/account/totp"))
    row = await world.database.run(factors.unconfirmed, world.users["student"])
    assert row is not None
    assert app._totp.secret not in row.secret
    user = await world.database.run(users.get, world.users["student"])
    assert user is not None
