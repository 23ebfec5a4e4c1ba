from __future__ import annotations

import json

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import assignments, vms
from tests.web import Client, World, text

NEW = {"cluster": "pve", "vmid": "150", "kind": "qemu", "node": "pve2", "name": "web"}


@pytest.mark.gen_test
async def test_list_and_states(client: Client, world: World) -> None:
    page = text(await client.ask("/admin/vms?q=spare", "admin"))
    assert "pve/101" in page
    assert "pve/100" not in page
    assert 'data-states="/admin/vms/states?q=spare"' in page
    answer = json.loads((await client.ask("/admin/vms/states?q=spare", "admin")).body)
    assert answer["machines"].keys() == {str(world.vms["spare"])}
    assert answer["machines"][str(world.vms["spare"])]["word"] == "stopped"


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"vmid": "100"}, "vmid", "is known already"),
        ({"vmid": "99"}, "vmid", "number from 100"),
        ({"vmid": "1e9"}, "vmid", "number from 100"),
        ({"vmid": "٣٣٣"}, "vmid", "number from 100"),
        ({"vmid": "1" * 400}, "vmid", "at most 255"),
        ({"cluster": "mars"}, "cluster", "choose one"),
        ({"node": "a b"}, "node", "letters, digits and dashes"),
        ({"node": ""}, "node", "Please fill this in"),
        ({"kind": "vmware"}, "kind", "choose one"),
        ({"name": "x" * 256}, "name", "at most 255"),
    ],
)
@pytest.mark.gen_test
async def test_bad_input(client: Client, world: World, change: dict[str, str], field: str, words: str) -> None:
    page = await client.ask(f"/admin/vms/{world.vms['spare']}", "admin", form=NEW | change)
    assert page.code == 422
    assert f'id="{field}-error"' in text(page)
    assert words in text(page)
    assert await world.database.run(vms.by_ref, "pve", 150) is None


@pytest.mark.gen_test
async def test_edit(client: Client, world: World) -> None:
    path = f"/admin/vms/{world.vms['spare']}"
    assert 'value="101"' in text(await client.ask(path, "admin"))
    assert (await client.ask(path, "admin", form=NEW)).code == 303
    vm = await world.database.run(vms.get, world.vms["spare"])
    assert vm is not None
    assert (vm.vmid, vm.name) == (150, "web")


@pytest.mark.gen_test
async def test_remove(client: Client, world: World) -> None:
    path = f"/admin/vms/{world.vms['kali']}/remove"
    assert "On the cluster nothing changes" in text(await client.ask(path, "admin"))
    ended: list[str] = []
    request = ConsoleRequest(world.users["student"], "student", 1, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, ended.append):
        assert (await client.ask(path, "admin", form={})).code == 303
    assert ended == ["unassigned"]
    assert await world.database.run(assignments.get, world.assignment) is None
    assert (await client.ask(path, "admin", form={})).code == 404
    assert (await client.ask(f"/admin/vms/{world.vms['kali']}", "admin", form=NEW)).code == 404
