"""Switching many machines at once: asked first where work may be lost, then watched."""

from __future__ import annotations

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.problems import VM_LOCKED, Problem
from tests.web import Client, World, text


async def ended(client: Client, world: World, where: str) -> str:
    """The page of operations once all have ended."""
    batch = world.portal.operations.batch(int(where.rpartition("/")[2]))
    assert batch is not None
    for operation in batch.operations:
        await operation.ended.wait()
    page = text(await client.ask(where, "admin"))
    assert "data-refresh" not in page
    return page


@pytest.mark.gen_test
async def test_a_start_needs_no_question_and_is_watched(client: Client, world: World) -> None:
    begun = await client.ask("/admin/vms/power", "admin", form={"id": str(world.vms["spare"]), "do": "start"})
    where = begun.headers["Location"]
    assert where.startswith("/admin/vms/operations/")
    page = text(await client.ask(where, "admin"))
    assert 'data-refresh="2"' in page
    assert "0 of 1 have ended" in page
    world.cluster.task_problems[101] = Problem(VM_LOCKED, "VM is locked (backup)")
    world.cluster.tasks_may_end.set()
    page = await ended(client, world, where)
    assert "One failed." in page
    assert "VM is locked (backup)" in page
    assert ("start", 101, "") in world.cluster.asked


@pytest.mark.parametrize("act", ["shutdown", "reboot", "stop"])
@pytest.mark.gen_test
async def test_what_may_lose_work_is_asked_first(client: Client, world: World, act: str) -> None:
    form = {"id": str(world.vms["kali"]), "do": act}
    request = ConsoleRequest(world.users["student"], "student", 1, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, lambda code: None):
        question = text(await client.ask("/admin/vms/power", "admin", form=form))
    assert "Somebody is working at one of them now: kali." in question
    assert world.cluster.asked == []
    world.cluster.tasks_may_end.set()
    begun = await client.ask("/admin/vms/power", "admin", form=form | {"sure": "1"})
    await ended(client, world, begun.headers["Location"])
    assert world.cluster.asked == [(act, 100, "")]


@pytest.mark.parametrize(
    "form", [{}, {"id": "999", "do": "start"}, {"id": "1", "do": "format"}, {"id": "1", "do": "reset"}]
)
@pytest.mark.gen_test
async def test_nothing_sensible_does_nothing(client: Client, world: World, form: dict[str, str]) -> None:
    assert (await client.ask("/admin/vms/power", "admin", form=form)).headers["Location"] == "/admin/vms"
    assert world.cluster.asked == []
    assert (await client.ask("/admin/vms/operations/99", "admin")).headers["Location"] == "/admin/vms"
