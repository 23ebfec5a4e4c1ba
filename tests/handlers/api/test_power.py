"""Power and resets by a script."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from cyberlab.db import tokens
from cyberlab.db.models import ApiToken, utcnow
from cyberlab.db.tokens import Scope
from cyberlab.handlers import operations
from cyberlab.handlers.operations import Phase
from cyberlab.problems import CATALOGUE, RIGHT_ENDED
from tests.handlers.api.conftest import Script
from tests.handlers.test_rights_that_end import give_spare, held, refused
from tests.web import TEST, World


@pytest.mark.gen_test
async def test_a_machine_is_started_and_watched(script: Script) -> None:
    world = script.world
    path, token = f"/machines/{world.vms['kali']}", script.token("student", [Scope.READ, Scope.POWER])
    assert (await script.ask("GET", f"{path}/operation", token))[0].code == 404
    response, begun = await script.ask("POST", f"{path}/power", token, {"act": "start"})
    assert (response.code, begun["act"]) == (202, "start")
    response, problem = await script.ask("POST", f"{path}/power", token, {"act": "stop"})
    assert response.code == 409
    assert "being done" in problem["title"]
    world.cluster.tasks_may_end.set()
    operation = world.portal.operations.get(begun["id"])
    assert operation is not None
    await operation.ended.wait()
    _, ended = await script.ask("GET", f"{path}/operation", token)
    assert (ended["id"], ended["phase"], ended["problem"]) == (begun["id"], Phase.DONE, None)
    await world.portal.operations.close()


@pytest.mark.gen_test
async def test_power_needs_the_right_the_scope_and_a_word_that_means_something(script: Script) -> None:
    path = f"/machines/{script.world.vms['kali']}"
    for who, scopes, code in (
        ("student", [Scope.READ], 403),
        ("other", list(Scope), 403),
        ("student", [Scope.POWER], 422),
    ):
        response, _ = await script.ask("POST", f"{path}/power", script.token(who, scopes), {"act": "reset"})
        assert response.code == code, (who, scopes)
    assert (await script.ask("POST", f"{path}/reset", script.token("student")))[0].code == 403  # may not reset it
    response, problem = await script.ask("POST", f"{path}/reset", script.token("teacher"))
    assert response.code == 409
    assert "no snapshot" in problem["title"]


def removed(world: World, token_id: int) -> None:
    world.database.call(tokens.remove, TEST, world.users["student"], token_id)


def expired(world: World, token_id: int) -> None:
    with world.database.transaction() as s:
        s.execute(update(ApiToken).where(ApiToken.id == token_id).values(expires_at=utcnow() - timedelta(seconds=1)))


@pytest.mark.parametrize("take_away", [removed, expired])
@pytest.mark.gen_test
async def test_a_scripts_token(
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    take_away: Callable[[World, int], None],
) -> None:
    world = script.world
    monkeypatch.setattr(operations, "AT_ONCE", 1)
    give_spare(world)
    token = script.token("student")
    for vm in ("kali", "spare"):
        assert (await script.ask("POST", f"/machines/{world.vms[vm]}/power", token, {"act": "start"}))[0].code == 202
    async with held(world):
        with world.database.transaction() as s:
            (row,) = tokens.of_user(s, world.users["student"])
        take_away(world, row.id)
    refused(world)
    _, told = await script.ask("GET", f"/machines/{world.vms['spare']}/operation", script.token("student"))
    assert told["problem"] == CATALOGUE[RIGHT_ENDED].title
