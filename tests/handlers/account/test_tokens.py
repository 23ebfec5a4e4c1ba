"""Tokens for scripts: made on the account's page, shown once, removed there."""

from __future__ import annotations

import re

import pytest

from cyberlab.db import tokens
from cyberlab.db.models import utcnow
from tests.web import Client, World, text

FORM = {"name": "semester <script>", "read": "1", "days": "30"}


@pytest.mark.gen_test
async def test_a_token_is_shown_once(client: Client, world: World) -> None:
    response = await client.ask("/account/tokens", "student", form=FORM)
    assert response.code == 200
    shown = re.search(r"<code[^>]*data-token>([^<]+)</code>", text(response))
    assert shown
    found = world.database.call(tokens.find, shown[1], utcnow())
    assert found is not None
    assert found[0].username == "student"
    assert sorted(found[1]) == ["read"]
    again = text(await client.ask("/account/tokens", "student"))
    assert shown[1] not in again
    assert "semester &lt;script&gt;" in again


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "x" * 65}, {"days": "99999"}, {"days": "x"}, {"read": ""}], ids=repr
)
@pytest.mark.gen_test
async def test_what_is_wrong_is_said_and_what_was_typed_stays(
    client: Client, world: World, wrong: dict[str, str]
) -> None:
    response = await client.ask("/account/tokens", "student", form=FORM | wrong)
    assert response.code == 422
    assert "field-error" in text(response)
    assert (wrong.get("name", "semester") or 'name="name"') in text(response)
    assert not world.database.call(tokens.of_user, world.users["student"])


@pytest.mark.gen_test
async def test_a_scope_that_reaches_nothing_is_not_offered(client: Client, world: World) -> None:
    assert 'name="write"' not in text(await client.ask("/account/tokens", "student"))
    assert 'name="write"' in text(await client.ask("/account/tokens", "admin"))
    await client.ask("/account/tokens", "student", form=FORM | {"write": "1"})
    assert [row.scopes for row in world.database.call(tokens.of_user, world.users["student"])] == ["read"]


@pytest.mark.gen_test
async def test_one_removes_ones_own(client: Client, world: World) -> None:
    await client.ask("/account/tokens", "student", form=FORM)
    (row,) = world.database.call(tokens.of_user, world.users["student"])
    await client.ask(f"/account/tokens/{row.id}/remove", "other", form={})
    assert world.database.call(tokens.of_user, world.users["student"])
    response = await client.ask(f"/account/tokens/{row.id}/remove", "student", form={})
    assert response.headers["Location"] == "/account/tokens"
    assert not world.database.call(tokens.of_user, world.users["student"])
