"""The list of machines: narrowed down by the address, and many of them taken to be assigned."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy.orm import Session

from cyberlab.db.models import Vm, utcnow
from tests.web import Client, World, text


def names(page: str) -> list[str]:
    return re.findall(r'href="/admin/vms/\d+">([^<]+)</a>', page)


def change(s: Session, vm_id: int, **values: object) -> None:
    vm = s.get(Vm, vm_id)
    for name, value in values.items():
        setattr(vm, name, value)


@pytest.mark.gen_test
async def test_list_and_states(client: Client, world: World) -> None:
    page = text(await client.ask("/admin/vms?q=spare", "admin"))
    assert "pve/101" in page
    assert "pve/100" not in page
    assert 'data-states="/admin/vms/states?q=spare"' in page
    answer = json.loads((await client.ask("/admin/vms/states?q=spare", "admin")).body)
    assert answer["machines"].keys() == {str(world.vms["spare"])}
    assert answer["machines"][str(world.vms["spare"])]["word"] == "stopped"


@pytest.mark.gen_test
async def test_the_address_carries_the_filters(client: Client, world: World) -> None:
    run = world.database.run
    await run(change, world.vms["kali"], status="running", tags=";netsec;", pool="lab", node="pve2")
    await run(change, world.vms["spare"], status="stopped", vanished_at=utcnow())
    for query, found in (
        ("", ["kali", "other", "spare"]),
        ("tag=netsec&node=pve2&pool=lab&state=running&cluster=pve&show=assigned", ["kali"]),
        ("show=unassigned", ["spare"]),
        ("show=vanished", ["spare"]),
        ("show=templates", []),
        ("class=999", []),
        ("show=nonsense&state=nonsense&class=x&page=-1", ["kali", "other", "spare"]),
    ):
        assert names(text(await client.ask(f"/admin/vms?{query}", "admin"))) == found, query
    page = text(await client.ask("/admin/vms?tag=netsec&show=assigned", "admin"))
    assert "<option selected>netsec</option>" in page
    assert 'name="show" value="assigned"' in page
    assert 'href="/admin/vms?show=vanished">Vanished <span class="quiet">1</span>' in page
    assert "gone from the cluster" in text(await client.ask("/admin/vms", "admin"))


@pytest.mark.gen_test
async def test_a_page_beyond_the_list_goes_to_its_beginning(client: Client) -> None:
    assert (await client.ask("/admin/vms?page=9", "admin")).headers["Location"] == "/admin/vms"


@pytest.mark.gen_test
async def test_an_empty_list_says_why(client: Client) -> None:
    assert "No machine fits that search" in text(await client.ask("/admin/vms?q=nothing-like-it", "admin"))


@pytest.mark.gen_test
async def test_names_are_text(client: Client, world: World) -> None:
    await world.database.run(change, world.vms["spare"], name="<script>", tags=';<b>;a"b;', pool="<i>")
    page = text(await client.ask("/admin/vms", "admin")) + text(
        await client.ask(f"/admin/vms/{world.vms['spare']}", "admin")
    )
    assert "&lt;script&gt;" in page
    for raw in ("<script>", "<b>", "<i>", 'a"b'):
        assert raw not in page


@pytest.mark.gen_test
async def test_what_is_ticked_is_taken_to_be_assigned(client: Client, world: World) -> None:
    nothing = await client.ask("/admin/vms/assign", "admin", form={"id": "999"})
    assert nothing.headers["Location"] == "/admin/vms"
    chosen = await client.ask("/admin/vms/assign", "admin", form={"id": str(world.vms["spare"])})
    assert chosen.headers["Location"] == f"/admin/assignments/pair?vm={world.vms['spare']}"
