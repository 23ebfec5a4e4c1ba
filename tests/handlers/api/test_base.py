"""Tokens, scopes and the one form of error."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cyberlab.db import tokens, users
from cyberlab.db.models import utcnow
from cyberlab.db.tokens import Scope
from tests.handlers.api.conftest import Script
from tests.web import TEST


@pytest.mark.gen_test
async def test_a_token_speaks_for_its_user(script: Script) -> None:
    response, me = await script.ask("GET", "/me", script.token("teacher", [Scope.READ]))
    assert response.code == 200
    assert (me["username"], me["role"], me["scopes"]) == ("teacher", "teacher", ["read"])


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic abc", "Bearer cyberlab_" + "x" * 43, "Bearer é"])
@pytest.mark.gen_test
async def test_without_a_token_nothing_is_told(script: Script, header: str) -> None:
    response, problem = await script.ask("GET", "/me", Authorization=header)
    assert response.code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == response.headers["X-Request-Id"]


@pytest.mark.gen_test
async def test_a_cookie_is_not_a_token(script: Script) -> None:
    response, _ = await script.ask("GET", "/me", Cookie=f"cyberlab={script.world.tokens['admin']}")
    assert response.code == 401


@pytest.mark.gen_test
async def test_a_token_ends_with_its_time_its_user_and_its_removal(script: Script) -> None:
    database, who = script.world.database, script.world.users["student"]
    row, text = database.call(
        tokens.create, TEST, who, name="short", scopes=[Scope.READ], expires_at=utcnow() + timedelta(minutes=1)
    )
    assert (await script.ask("GET", "/me", text))[0].code == 200
    assert database.call(tokens.find, text, utcnow() + timedelta(minutes=2)) is None
    database.call(users.set_active, TEST, who, False)
    assert (await script.ask("GET", "/me", text))[0].code == 401
    database.call(users.set_active, TEST, who, True)
    assert (await script.ask("GET", "/me", text))[0].code == 200
    assert not database.call(tokens.remove, TEST, script.world.users["other"], row.id)
    assert database.call(tokens.remove, TEST, who, row.id)
    assert (await script.ask("GET", "/me", text))[0].code == 401


@pytest.mark.gen_test
async def test_a_scope_is_needed_besides_the_role(script: Script) -> None:
    reading, writing = script.token("admin", [Scope.READ]), script.token("admin", [Scope.WRITE])
    response, problem = await script.ask("POST", "/classes", reading, {"name": "NetSec"})
    assert response.code == 403
    assert "write" in problem["detail"]
    assert (await script.ask("POST", "/classes", writing, {"name": "NetSec"}))[0].code == 201
    assert (await script.ask("GET", "/classes", writing))[0].code == 403
    assert (await script.ask("POST", "/classes", script.token("teacher"), {"name": "Mine"}))[0].code == 403


@pytest.mark.gen_test
async def test_a_bad_body_is_told_field_by_field(script: Script) -> None:
    token = script.token("admin")
    response, problem = await script.ask("POST", "/users", token, {"username": "", "role": "king", "x": 1})
    assert response.code == 422
    assert {error["field"] for error in problem["errors"]} == {"username", "role", "x"}
    response, problem = await script.ask("GET", "/users?limit=0&colour=red", token)
    assert response.code == 422
    assert {error["field"] for error in problem["errors"]} == {"limit", "colour"}
    response, _ = await script.ask("GET", "/me?x=1", token)
    assert response.code == 422
    response = await script.http.fetch(
        f"{script.base}/api/v1/users",
        method="POST",
        body="username=x",
        headers={"Authorization": f"Bearer {token}"},
        raise_error=False,
    )
    assert response.code == 415


@pytest.mark.gen_test
async def test_a_wrong_method_is_told_the_right_ones(script: Script) -> None:
    response, problem = await script.ask("DELETE", "/users", script.token("admin"))
    assert response.code == 405
    assert response.headers["Allow"] == "GET, POST"
    assert problem["status"] == 405


@pytest.mark.gen_test
async def test_an_unknown_address_answers_in_json(script: Script) -> None:
    for path in ("/nothing", "/users/999", "/users/999999999999", "/machines/999999999999", "/classes/0"):
        response, problem = await script.ask("GET", path, script.token("admin"))
        assert response.code == 404, path
        assert problem["request_id"]
