"""Power and resets by a script."""

from __future__ import annotations

import pytest

from cyberlab.db.tokens import Scope
from cyberlab.handlers.operations import Phase
from tests.handlers.api.conftest import Script


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
