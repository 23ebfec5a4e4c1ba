"""Nothing is done for whom has lost the right to it since they asked: two machines, and one turn that is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from cyberlab.db import assignments, audit, groups, holdings, users, vms
from cyberlab.db.models import Role, utcnow
from cyberlab.handlers import operations as module
from cyberlab.handlers.operations import Operation, Phase
from cyberlab.problems import CATALOGUE, RIGHT_ENDED
from tests.web import TEST, Client, FakeCluster, World, text

GONE = "right-ended: what let {} ask for it is gone"


@pytest.fixture(autouse=True)
def one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One machine at a time."""
    monkeypatch.setattr(module, "AT_ONCE", 1)


def of(world: World, vm: str) -> Operation:
    found = world.portal.operations.of(world.vms[vm])
    assert found is not None
    return found


def give_spare(world: World, *, via_class: bool = False, to_class: bool = False) -> int:
    """The student gets "spare" too, or the class; return the assignment's id."""
    with world.database.transaction() as s:
        row = assignments.create(
            s,
            TEST,
            vm_id=world.vms["spare"],
            user_id=None if to_class else world.users["student"],
            group_id=world.group if to_class else None,
            via_group_id=world.group if via_class else None,
            can_power=True,
            can_reset=True,
        )
        return row.id


@asynccontextmanager
async def held(world: World) -> AsyncIterator[None]:
    """Within, "kali" has been begun and holds the one turn. Afterwards both have ended, and it is written down."""
    await world.cluster.begun.wait()
    assert (of(world, "kali").phase, of(world, "spare").phase) == (Phase.RUNNING, Phase.WAITING)
    yield
    world.cluster.tasks_may_end.set()
    await of(world, "spare").ended.wait()
    assert of(world, "kali").phase == Phase.DONE, "what Proxmox was asked already goes on"
    await world.portal.operations.close()


def refused(world: World) -> None:
    """Proxmox was asked about "kali" alone."""
    problem = of(world, "spare").problem
    assert problem is not None
    assert problem.code == RIGHT_ENDED
    assert [vmid for _, vmid, _ in world.cluster.asked] == [100]


def carried_out(world: World) -> None:
    """Proxmox was asked about both."""
    assert of(world, "spare").phase == Phase.DONE
    assert [vmid for _, vmid, _ in world.cluster.asked] == [100, 101]


def failures(world: World) -> list[tuple[int | None, str, str]]:
    """What the audit says of what was not done: whose, by id and by name, and why."""
    with world.database.transaction() as s:
        return [(row.actor_id, row.actor, row.detail) for row in audit.page(s, search=".failed vm.").rows]


# --- one machine: judged at the present time


async def start_both(client: Client, world: World, who: str = "student") -> None:
    for vm in ("kali", "spare"):
        assert (await client.ask(f"/student/machines/{world.vms[vm]}/start", who, form={})).code == 303


def unassign(world: World, row: int) -> None:
    world.database.call(assignments.delete, TEST, row)


def change(world: World, row: int, **values: Any) -> None:
    rights = {"starts_at": None, "ends_at": None, "can_power": True, "can_reset": True}
    world.database.call(assignments.update, TEST, row, **(rights | values))


def end(world: World, row: int) -> None:
    change(world, row, ends_at=utcnow())


def no_power(world: World, row: int) -> None:
    change(world, row, can_power=False)


def disable(world: World, row: int = 0, who: str = "student") -> None:
    world.database.call(users.set_active, TEST, world.users[who], False)


def archive(world: World, row: int = 0) -> None:
    world.database.call(groups.archive, TEST, world.group)


@pytest.mark.parametrize("take_away", [unassign, end, no_power, disable, archive])
@pytest.mark.gen_test
async def test_a_students_start(client: Client, world: World, take_away: Callable[[World, int], None]) -> None:
    row = give_spare(world, via_class=take_away is archive)
    await start_both(client, world)
    async with held(world):
        take_away(world, row)
    refused(world)
    assert failures(world) == [(world.users["student"], "student", GONE.format("student"))]


@pytest.mark.gen_test
async def test_a_reset_needs_the_right_to_resets(client: Client, world: World) -> None:
    row = give_spare(world)
    world.database.call(holdings.name_snapshot, TEST, [world.vms["spare"]], "clean")
    await client.ask(f"/student/machines/{world.vms['kali']}/start", "student", form={})
    await client.ask(f"/student/machines/{world.vms['spare']}/reset", "student", form={"snapshot": "clean"})
    async with held(world):
        change(world, row, can_reset=False)
    refused(world)


@pytest.mark.gen_test
async def test_signing_out_takes_no_right_away(client: Client, world: World) -> None:
    give_spare(world)
    await start_both(client, world)
    async with held(world):
        world.database.call(users.sign_out, TEST, world.users["student"])
    carried_out(world)


@pytest.mark.gen_test
async def test_who_is_deleted_is_still_named_in_the_audit(client: Client, world: World) -> None:
    give_spare(world)
    await start_both(client, world)
    async with held(world):
        world.database.call(users.delete, TEST, world.users["student"])
    refused(world)
    assert failures(world) == [(None, "student", GONE.format("student"))]
    with world.database.transaction() as s:
        done = [(row.actor_id, row.actor) for row in audit.page(s, search="vm.start.done").rows]
    assert done == [(None, "student")], "the one that was under way"


@pytest.mark.gen_test
async def test_one_machine_for_a_teacher_ends_with_the_lesson(client: Client, world: World) -> None:
    give_spare(world, via_class=True)
    await start_both(client, world, "teacher")
    async with held(world):
        assert (await client.ask(f"/teacher/classes/{world.group}/end", "teacher", form={})).code == 303
    refused(world)


@pytest.mark.gen_test
async def test_an_admins_many(client: Client, world: World) -> None:
    chosen = [str(world.vms["kali"]), str(world.vms["spare"])]
    with world.database.transaction() as s:
        users.create(s, TEST, username="second", role=Role.ADMIN)
    await client.ask("/admin/vms/power", "admin", form={"id": chosen, "do": "start"})
    async with held(world):
        become(world, "admin", Role.TEACHER)
    refused(world)


@pytest.mark.parametrize(("act", "looked_at"), [("start", "resources"), ("reset", "status")])
@pytest.mark.gen_test
async def test_it_is_asked_after_the_last_look_at_the_cluster(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch, act: str, looked_at: str
) -> None:
    """A node that is slow to answer may take as long as a turn."""
    look = getattr(FakeCluster, looked_at)
    looking, may_end = asyncio.Event(), asyncio.Event()

    async def slow(self: FakeCluster, *asked: Any) -> Any:
        looking.set()
        await may_end.wait()
        return await look(self, *asked)

    monkeypatch.setattr(FakeCluster, looked_at, slow)
    row = give_spare(world)
    world.database.call(holdings.name_snapshot, TEST, [world.vms["spare"]], "clean")
    await client.ask(f"/student/machines/{world.vms['spare']}/{act}", "student", form={"snapshot": "clean"})
    await looking.wait()
    assert of(world, "spare").phase == Phase.RUNNING, "it has its turn"
    unassign(world, row)
    may_end.set()
    await of(world, "spare").ended.wait()
    problem = of(world, "spare").problem
    assert problem is not None
    assert problem.code == RIGHT_ENDED
    assert world.cluster.asked == []
    await world.portal.operations.close()


# --- a class: who may run it now, and what was its own when it was asked for


async def for_class(client: Client, world: World, act: str = "start") -> None:
    chosen = [str(world.vms["kali"]), str(world.vms["spare"])]
    form: dict[str, str | list[str]] = {"act": act, "vm": chosen, "confirmed": "1", "snapshot": "lesson-3"}
    assert (await client.ask(f"/teacher/classes/{world.group}/act", "teacher", form=form)).code == 303


@pytest.mark.parametrize("act", ["shutdown", "reset"])
@pytest.mark.parametrize("given", ["via_class", "to_class"])
@pytest.mark.gen_test
async def test_a_lesson_that_is_ended_takes_nothing_from_what_was_asked_in_it(
    client: Client, world: World, act: str, given: str
) -> None:
    give_spare(world, **{given: True})
    await for_class(client, world, act)
    async with held(world):
        assert (await client.ask(f"/teacher/classes/{world.group}/end", "teacher", form={})).code == 303
        facts = world.database.call(assignments.facts, world.users["teacher"], world.vms["spare"], utcnow())
        assert not facts.teaches, "from now on it is nobody's"
    carried_out(world)
    assert failures(world) == []


@pytest.mark.gen_test
async def test_nor_does_one_that_ends_by_its_time(client: Client, world: World) -> None:
    row = give_spare(world, via_class=True)
    await for_class(client, world, "shutdown")
    async with held(world):
        change(world, row, ends_at=of(world, "spare").begun_at + timedelta(microseconds=1))
    carried_out(world)


def become(world: World, who: str, role: Role) -> None:
    world.database.call(users.update, TEST, world.users[who], display_name=who, email=None, role=role)


def no_teacher(world: World) -> None:
    world.database.call(groups.remove_member, TEST, world.group, world.users["teacher"])


def no_longer_one(world: World) -> None:
    become(world, "teacher", Role.STUDENT)


def taken_from_the_student(world: World) -> None:
    row = world.database.call(assignments.find, vm_id=world.vms["spare"], user_id=world.users["student"])
    assert row is not None
    world.database.call(assignments.delete, TEST, row.id)


def given_to_others(world: World) -> None:
    taken_from_the_student(world)
    world.database.call(assignments.create, TEST, vm_id=world.vms["spare"], user_id=world.users["other"])


def student_gone(world: World) -> None:
    world.database.call(groups.remove_member, TEST, world.group, world.users["student"])


def machine_gone(world: World) -> None:
    world.database.call(vms.delete, TEST, world.vms["spare"])


@pytest.mark.parametrize(
    "take_away",
    [
        no_teacher,
        no_longer_one,
        partial(disable, who="teacher"),
        archive,
        taken_from_the_student,
        given_to_others,
        student_gone,
        machine_gone,
    ],
)
@pytest.mark.gen_test
async def test_a_teachers_class(client: Client, world: World, take_away: Callable[[World], None]) -> None:
    give_spare(world)
    await for_class(client, world)
    async with held(world):
        take_away(world)
    refused(world)
    batch = world.portal.operations.newest_batch(world.group)
    assert batch is not None
    page = text(await client.ask(f"/teacher/classes/{world.group}/operations/{batch.id}", "admin"))
    assert f"{CATALOGUE[RIGHT_ENDED].title}." in page
    assert failures(world) == [(world.users["teacher"], "teacher", GONE.format("teacher"))]


@pytest.mark.gen_test
async def test_a_teacher_who_is_deleted(client: Client, world: World) -> None:
    give_spare(world)
    await for_class(client, world)
    async with held(world):
        world.database.call(users.delete, TEST, world.users["teacher"])
    refused(world)
    assert failures(world) == [(None, "teacher", GONE.format("teacher"))]
