"""Live consoles: listed, found, ended; and those of the past."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import assignments, audit, consoles, groups
from tests.web import TEST, Client, World, text


class Open:
    """Consoles of the student's on kali and spare, and one of the teacher's on kali."""

    def __init__(self, world: World) -> None:
        self.stack = ExitStack()
        self.ended: list[tuple[str, str, str]] = []
        self.ids = [
            self._open(world, *each)
            for each in (("student", "kali", False), ("student", "spare", False), ("teacher", "kali", True))
        ]

    def _open(self, world: World, user: str, vm: str, teacher: bool) -> int:
        request = ConsoleRequest(
            world.users[user], user, 1, world.vms[vm], f"pve/{vm}", as_teacher=teacher, view_only=teacher, address="::1"
        )
        live = self.stack.enter_context(
            world.portal.registry.entry(request, lambda code: self.ended.append((user, vm, code)))
        )
        live.traffic = lambda: (1_234_567, 89)
        return live.id


@pytest.fixture
def live(world: World) -> Iterator[Open]:
    opened = Open(world)
    with opened.stack:
        yield opened


@pytest.mark.gen_test
async def test_the_list(client: Client, world: World, live: Open) -> None:
    page = text(await client.ask("/admin/consoles", "admin"))
    assert page.count("1.2\u00a0MB, 89\u00a0B") == 3
    assert ">teacher</span>" in page
    assert "watches" in page
    assert "pve/100 · pve1" in page
    found = text(await client.ask("/admin/consoles?q=STUDENT+kali", "admin"))
    assert found.count("1.2\u00a0MB") == 1
    assert "No console that is open fits" in text(await client.ask("/admin/consoles?q=nobody", "admin"))


@pytest.mark.gen_test
async def test_a_wall_comes_behind_what_was_opened_one_by_one(client: Client, world: World, live: Open) -> None:
    tile = ConsoleRequest(
        world.users["teacher"], "teacher", 1, world.vms["other"], "pve/tile", view_only=True, wall=True
    )
    with world.portal.registry.entry(tile, lambda code: None):
        page = text(await client.ask("/admin/consoles", "admin"))
    assert [page.count(f'class="tag">{words}</span>') for words in ("wall", "watches")] == [1, 1]
    assert page.index(f"/admin/vms/{world.vms['other']}") > page.index(f"/admin/vms/{world.vms['spare']}")


@pytest.mark.gen_test
async def test_of_a_class(client: Client, world: World, live: Open) -> None:
    group = (await world.database.run(groups.page)).rows[0]
    await world.database.run(assignments.create, TEST, vm_id=world.vms["spare"], group_id=group.id)
    assert text(await client.ask(f"/admin/consoles?class={group.id}", "admin")).count("1.2\u00a0MB") == 1
    question = text(await client.ask(f"/admin/consoles/end?class={group.id}", "admin"))
    assert "One console is open" in question
    assert (await client.ask("/admin/consoles/end", "admin", form={"class": str(group.id)})).code == 303
    assert live.ended == [("student", "spare", "disconnected")]
    assert (await client.ask("/admin/consoles/end?class=x", "admin")).headers["Location"] == "/admin/consoles"


@pytest.mark.gen_test
async def test_one_is_ended(client: Client, world: World, live: Open) -> None:
    await client.ask("/admin/consoles/end", "admin", form={"console": str(live.ids[2])})
    assert live.ended == [("teacher", "kali", "disconnected")]
    row = (await world.database.run(audit.page)).rows[0]
    assert (row.actor, row.action, row.object) == ("admin", "console.disconnect", "vm pve/kali of teacher")


@pytest.mark.gen_test
async def test_all_of_a_user_are_ended(client: Client, world: World, live: Open) -> None:
    await client.ask("/admin/consoles/end", "admin", form={"user": str(world.users["student"])})
    assert [(user, vm) for user, vm, _ in live.ended] == [("student", "kali"), ("student", "spare")]


@pytest.mark.parametrize("form", [{}, {"console": "999"}, {"user": "x"}, {"class": "999"}, {"console": "9" * 400}])
@pytest.mark.gen_test
async def test_what_is_not_there_ends_nothing(client: Client, live: Open, form: dict[str, str]) -> None:
    assert (await client.ask("/admin/consoles/end", "admin", form=form)).code == 303
    assert live.ended == []


@pytest.mark.gen_test
async def test_the_past(client: Client, world: World) -> None:
    vm, student = world.vms["kali"], world.users["student"]
    assert "No console was opened yet" in text(await client.ask("/admin/consoles/past", "admin"))
    row = await world.database.run(
        consoles.opened, user_id=student, vm_id=vm, username="student", vm_label="pve/100 kali", address="::1"
    )
    await world.database.run(
        consoles.closed, row, bytes_to_client=5_000, bytes_to_upstream=7, end_reason="disconnected"
    )
    page = text(await client.ask("/admin/consoles/past?q=kali", "admin"))
    for words in (
        "5.0\u00a0kB, 7\u00a0B",
        "An admin closed this console",
        f"/admin/vms/{vm}",
        f"/admin/users/{student}",
    ):
        assert words in page, words
    assert "5.0\u00a0kB" not in text(await client.ask("/admin/consoles/past?until=2020-01-01T00:00", "admin"))
    assert "5.0\u00a0kB" in text(await client.ask("/admin/consoles/past?since=nonsense", "admin"))
    assert (await client.ask("/admin/consoles/past?page=7", "admin")).headers["Location"] == "/admin/consoles/past"


@pytest.mark.gen_test
async def test_the_past_of_walls_is_shown_when_asked_for(client: Client, world: World) -> None:
    about = {"user_id": world.users["teacher"], "vm_id": world.vms["kali"], "username": "teacher", "vm_label": "x"}
    await world.database.run(consoles.opened, **about, address="192.0.2.9", wall=True)
    page = text(await client.ask("/admin/consoles/past", "admin"))
    assert "192.0.2.9" not in page
    assert "Only consoles of teachers’ walls were opened yet" in page
    page = text(await client.ask("/admin/consoles/past?q=teacher", "admin"))
    assert "Only consoles of teachers’ walls fit that search" in page
    link = "/admin/consoles/past?q=teacher&amp;since=&amp;until=&amp;walls=1"
    assert f'href="{link}"' in page
    assert "192.0.2.9" in text(await client.ask(link.replace("&amp;", "&"), "admin"))
    assert "No console fits that search" in text(await client.ask("/admin/consoles/past?q=nobody", "admin"))
    page = text(await client.ask(f"/admin/vms/{world.vms['kali']}", "admin"))
    assert "192.0.2.9" not in page
    assert "None but those of teachers’ walls." in page
    page = text(await client.ask("/admin/consoles/past?q=teacher&walls=1", "admin"))
    assert "192.0.2.9" in page
    assert 'class="tag">wall</span>' in page
    assert 'name="walls" value="1" checked' in page
