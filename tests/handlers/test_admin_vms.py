from __future__ import annotations

import json

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import assignments, vms
from cyberlab.db.models import VmKind
from cyberlab.problems import SSH_REFUSED, Problem
from tests.web import Client, World, resource, text

NEW = {"cluster": "pve", "vmid": "150", "kind": "qemu", "node": "pve2", "name": "web"}


@pytest.mark.gen_test
async def test_list_and_states(client: Client, world: World) -> None:
    page = text(await client.ask("/admin/vms?q=spare", "admin"))
    assert "pve/101" in page
    assert "pve/100" not in page
    assert 'data-states="/admin/vms/states?q=spare"' in page
    answer = json.loads((await client.ask("/admin/vms/states?q=spare", "admin")).body)
    assert answer["machines"] == {str(world.vms["spare"]): {"state": "stopped", "word": "stopped", "stale": False}}


@pytest.mark.gen_test
async def test_create(client: Client, world: World) -> None:
    assert 'value="pve" selected' in text(await client.ask("/admin/vms/new", "admin"))
    assert (await client.ask("/admin/vms/new", "admin", form=NEW)).code == 303
    vm = await world.database.run(vms.by_ref, "pve", 150)
    assert vm is not None
    assert (vm.name, vm.node, vm.kind) == ("web", "pve2", VmKind.QEMU)


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
    for path in ("/admin/vms/new", f"/admin/vms/{world.vms['spare']}"):
        page = await client.ask(path, "admin", form=NEW | change)
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


@pytest.mark.gen_test
async def test_import_lists_what_is_unknown(client: Client, world: World) -> None:
    world.cluster.found += [resource(300, "new-one"), resource(301, "<new>"), resource(900, "tpl", template=True)]
    page = text(await client.ask("/admin/vms/import", "admin"))
    assert "pve/300" in page
    assert "&lt;new&gt;" in page
    assert "pve/100" not in page
    assert "pve/900" not in page
    assert "pve/301" not in text(await client.ask("/admin/vms/import?q=ONE", "admin"))


@pytest.mark.gen_test
async def test_import_takes_the_clusters_word_not_the_forms(client: Client, world: World) -> None:
    world.cluster.found += [resource(300, "new-one", node="pve2", kind="lxc")]
    form = {"vm": "pve/300", "name": "forged", "node": "forged"}
    assert (await client.ask("/admin/vms/import", "admin", form=form)).headers["Location"] == "/admin/vms"
    vm = await world.database.run(vms.by_ref, "pve", 300)
    assert vm is not None
    assert (vm.name, vm.node, vm.kind) == ("new-one", "pve2", VmKind.LXC)


@pytest.mark.parametrize("reference", ["pve/999", "mars/300", "x", "pve/300'; --"])
@pytest.mark.gen_test
async def test_import_of_what_is_not_there_adds_nothing(client: Client, world: World, reference: str) -> None:
    response = await client.ask("/admin/vms/import", "admin", form={"vm": reference})
    assert (response.code, response.headers["Location"]) == (303, "/admin/vms/import")
    assert (await world.database.run(vms.page)).total == 3


@pytest.mark.gen_test
async def test_import_names_a_cluster_that_does_not_answer(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.cluster.problem = Problem(SSH_REFUSED, "10.0.0.1:22")
    page = text(await client.ask("/admin/vms/import", "admin"))
    assert "cannot be reached" in page
    assert "10.0.0.1" not in page
    monkeypatch.setattr("cyberlab.handlers.admin_import.PATIENCE", 0.05)
    world.cluster.hangs = True
    assert "not answering" in text(await client.ask("/admin/vms/import", "admin"))
