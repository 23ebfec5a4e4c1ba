"""How a sign-in goes on after the first factor: where the browser is sent, and with which cookies."""

from __future__ import annotations

import pytest
from tornado.httpclient import HTTPResponse

from cyberlab.auth.base import NeedsSecondFactor, SignedIn
from cyberlab.auth.config import parse
from cyberlab.db import factors, throttle
from cyberlab.handlers.pending import COOKIE
from tests.web import PASSWORD, Client, World, text

FORM = {"username": "student", "password": PASSWORD, "next": "/student/console/7"}


def _cookies(response: HTTPResponse) -> dict[str, str]:
    return dict(value.split(";")[0].split("=", 1) for value in response.headers.get_list("Set-Cookie"))


@pytest.fixture
def enrolled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody has an authenticator app."""
    monkeypatch.setattr(factors, "enrolled", lambda s, user_id: frozenset({"totp"}))


@pytest.mark.gen_test
async def test_the_second_factor_is_asked_for_on_its_page(client: Client, world: World, enrolled: None) -> None:
    response = await client.ask("/auth/login", form=FORM)
    assert response.code == 303
    assert response.headers["Location"] == "/auth/factor?next=%2Fstudent%2Fconsole%2F7"
    cookies = _cookies(response)
    assert "cyberlab" not in cookies, "there is no login session between the factors"
    (header,) = [value for value in response.headers.get_list("Set-Cookie") if value.startswith(COOKIE)]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in header.split(";")}
    assert not any(PASSWORD in value for value in cookies.values())
    world.tokens["half"] = cookies[COOKIE]  # what lies between the factors opens nothing
    assert (await client.ask("/student", "half")).headers["Location"].startswith("/auth/login")


@pytest.mark.gen_test
async def test_a_required_enrolment_has_its_page(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    required = parse({"second_factor": {"student": "required"}})
    monkeypatch.setattr(world.portal.logins, "_auth", required)
    response = await client.ask("/auth/login", form={"username": "student", "password": PASSWORD})
    assert (response.code, response.headers["Location"]) == (303, "/auth/enrol")
    assert COOKIE in _cookies(response)
    teacher = await client.ask("/auth/login", form={"username": "teacher", "password": PASSWORD})
    assert (teacher.code, teacher.headers["Location"]) == (303, "/")


@pytest.mark.gen_test
async def test_a_remembered_device_is_recognised(world: World, enrolled: None) -> None:
    outcome = await world.portal.logins.sign_in("student", PASSWORD, address="127.0.0.1", user_agent="Firefox")
    assert isinstance(outcome, NeedsSecondFactor)
    done = await world.portal.logins.complete(
        outcome.pending, factor="totp", address="127.0.0.1", user_agent="Firefox", remember=True
    )
    assert isinstance(done, SignedIn)
    outcome = await world.portal.logins.sign_in(
        "student", PASSWORD, address="127.0.0.1", user_agent="Firefox", device=done.device
    )
    assert isinstance(outcome, SignedIn)


@pytest.mark.gen_test
async def test_too_many_failures_are_429_with_the_wait(client: Client) -> None:
    for _ in range(throttle.ACCOUNT.free + 1):
        response = await client.ask("/auth/login", form=FORM | {"password": "wrong"})
        assert (response.code, "Retry-After" in response.headers) == (401, False)
    response = await client.ask("/auth/login", form=FORM)
    assert response.code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 3
    assert "Too many sign-ins have failed." in text(response)
