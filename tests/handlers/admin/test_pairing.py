"""Machines for a class, as an admin gives them."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from cyberlab.db import assignments, bulk, groups, vms
from tests.web import TEST, Client, World, text

PAIR = "/admin/assignments/pair"


def _address(world: World, **change: str) -> str:
    asked = {"class": str(world.group), "machines": "spare", "by": "order", "free": "1", "new": "1"}
    return f"{PAIR}?{urlencode(asked | change)}"


def _pairs(page: str) -> list[str]:
    return re.findall(r'name="pair" value="([0-9-]+)" checked', page)


@pytest.mark.gen_test
async def test_preview_then_give_then_undo(client: Client, world: World) -> None:
    assert "Machines for a class" in text(await client.ask(PAIR, "admin"))
    address = _address(world, ends_at="2030-12-18T00:00", can_power="1")
    page = text(await client.ask(address, "admin"))
    assert _pairs(page) == [f"{world.vms['spare']}-{world.users['student']}"]
    assert (await world.database.run(assignments.page)).total == 2
    done = await client.ask(address, "admin", form={"pair": _pairs(page)[0]})
    assert done.code == 303
    row = await world.database.run(assignments.find, vm_id=world.vms["spare"], user_id=world.users["student"])
    assert row is not None
    assert (row.via_group_id, row.can_power, row.ends_at is not None) == (world.group, True, True)
    said = text(await client.ask(done.headers["Location"], "admin"))
    assert "Network security: one assignment was made" in said
    assert (await client.ask(done.headers["Location"], "admin", form={})).code == 303
    assert (await world.database.run(assignments.page)).total == 2
    assert (await world.database.run(bulk.page)).total == 1


@pytest.mark.gen_test
async def test_a_choice_from_the_list_of_machines(client: Client, world: World) -> None:
    query = urlencode([("vm", world.vms["spare"]), ("vm", world.vms["other"]), ("vm", "x"), ("class", world.group)])
    page = text(await client.ask(f"{PAIR}?{query}", "admin"))
    assert "2 machines were chosen in the list" in page
    assert _pairs(page) == [f"{world.vms['spare']}-{world.users['student']}"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"starts_at": "2030-01-02T00:00", "ends_at": "2030-01-01T00:00"}, "The end has to be after the start"),
        ({"by": "dice"}, "Please choose one of these"),
        ({"class": "999"}, "There is no such class any more"),
        ({"class": "99999999999999999"}, "There is no such class any more"),
    ],
)
@pytest.mark.gen_test
async def test_bad_input_keeps_what_was_typed(client: Client, world: World, change: dict[str, str], words: str) -> None:
    for form in (None, {"pair": f"{world.vms['spare']}-{world.users['student']}"}):
        response = await client.ask(_address(world, **change), "admin", form=form)
        assert response.code == 422
        page = text(response)
        assert words in page
        assert 'value="spare"' in page
        assert (await world.database.run(assignments.page)).total == 2


@pytest.mark.gen_test
async def test_what_was_sent_is_checked_again(client: Client, world: World) -> None:
    address = _address(world)
    other = world.users["other"]  # not in the class
    for pair, words in (
        (f"{world.vms['spare']}-{other}", "gone meanwhile"),
        (f"999-{world.users['student']}", "gone meanwhile"),
        (f"{world.vms['kali']}-{world.users['student']}", "assigned meanwhile"),
        ("", "nothing was given"),
        ("1-2-3", "nothing was given"),
    ):
        response = await client.ask(address, "admin", form={"pair": pair} if pair else {})
        assert response.code == 422, pair
        assert words in text(response), pair
    await world.database.run(groups.delete, TEST, world.group)
    gone = await client.ask(address, "admin", form={"pair": f"{world.vms['spare']}-{world.users['student']}"})
    assert (gone.code, "no such class any more" in text(gone)) == (422, True)
    assert (await world.database.run(assignments.page)).total == 2


@pytest.mark.gen_test
async def test_names_are_shown_as_text(client: Client, world: World) -> None:
    await world.database.run(vms.update, TEST, world.vms["spare"], name="<script>spare</script>")
    page = text(await client.ask(_address(world), "admin"))
    assert "<script>spare" not in page
    assert "&lt;script&gt;spare" in page
