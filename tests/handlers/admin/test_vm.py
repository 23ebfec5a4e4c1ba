"""One machine's page: facts, holders, viewers, snapshots, its name here, its removal."""

from __future__ import annotations

import json

import pytest

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import assignments, consoles, vms
from cyberlab.problems import SSH_REFUSED, Problem
from cyberlab.proxmox.answers import Snapshot
from tests.handlers.admin.test_vms import change
from tests.web import Client, World, text


@pytest.mark.gen_test
async def test_all_about_a_machine(client: Client, world: World) -> None:
    vm = world.vms["kali"]
    await world.database.run(change, vm, tags=";netsec;", pool="lab", lock="backup")
    await world.database.run(
        consoles.opened,
        user_id=world.users["student"],
        vm_id=vm,
        username="student",
        vm_label="pve/100",
        address="::1",
    )
    request = ConsoleRequest(world.users["teacher"], "teacher", 1, vm, "pve/100 kali", address="192.0.2.9")
    with world.portal.registry.entry(request, lambda code: None):
        page = text(await client.ask(f"/admin/vms/{vm}", "admin"))
    for words in ("pve/100", "pve1", "netsec", "lab", "backup", "student", "192.0.2.9", "is open", "no limit"):
        assert words in page, words
    answer = json.loads((await client.ask(f"/admin/vms/{vm}/state", "admin")).body)
    assert answer["machines"][str(vm)]["state"] == "running"


@pytest.mark.gen_test
async def test_snapshots_come_after_the_page(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/admin/vms/{world.vms['kali']}/snapshots"
    await world.database.run(change, world.vms["kali"], reset_snapshot="lesson3")
    world.cluster.kept = [Snapshot("lesson3", "after <lesson> 3"), Snapshot("clean", with_memory=True)]
    page = text(await client.ask(path, "admin"))
    assert 'id="snapshots"' in page
    assert "after &lt;lesson&gt; 3" in page
    assert page.count("reset goes here") == 1
    world.cluster.kept = []
    assert "It has none" in text(await client.ask(path, "admin"))
    world.cluster.problem = Problem(SSH_REFUSED, "10.0.0.1:22")
    assert "cannot be reached" in text(await client.ask(path, "admin"))
    monkeypatch.setattr("cyberlab.handlers.admin.vm.PATIENCE", 0.05)
    world.cluster.problem, world.cluster.hangs = None, True
    page = text(await client.ask(path, "admin"))
    assert "within 0 s" in page


@pytest.mark.gen_test
async def test_a_machine_of_a_cluster_that_is_not_set_up(client: Client, world: World) -> None:
    await world.database.run(change, world.vms["kali"], cluster="mars")
    assert (await client.ask(f"/admin/vms/{world.vms['kali']}", "admin")).code == 200
    assert "mars" in text(await client.ask(f"/admin/vms/{world.vms['kali']}/snapshots", "admin"))


@pytest.mark.gen_test
async def test_rename_and_the_second_of_two_admins(client: Client, world: World) -> None:
    path = f"/admin/vms/{world.vms['spare']}"
    assert 'value="spare"' in text(await client.ask(path, "admin"))
    assert (await client.ask(path, "admin", form={"name": "Anna's", "version": "1"})).code == 303
    late = await client.ask(path, "admin", form={"name": "Bob's", "version": "1"})
    assert late.code == 422
    assert "Somebody else has changed this" in text(late)
    assert "Bob&#x27;s" in text(late), "what was typed stays"
    assert 'name="version" value="2"' in text(late)
    assert (await client.ask(path, "admin", form={"name": "x" * 256, "version": "2"})).code == 422
    assert (await client.ask(path, "admin", form={"name": "", "version": "2"})).code == 303
    vm = await world.database.run(vms.get, world.vms["spare"])
    assert vm is not None
    assert (vm.name, vm.renamed) == ("Anna's", False)


@pytest.mark.gen_test
async def test_remove(client: Client, world: World) -> None:
    path = f"/admin/vms/{world.vms['kali']}/remove"
    assert "On the cluster nothing changes" in text(await client.ask(path, "admin"))
    assert "Still remove it?" in text(await client.ask(path, "admin", form={"version": "9"}))
    ended: list[str] = []
    request = ConsoleRequest(world.users["student"], "student", 1, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, ended.append):
        assert (await client.ask(path, "admin", form={"version": "1"})).code == 303
    assert ended == ["unassigned"]
    assert await world.database.run(assignments.get, world.assignment) is None
    assert (await client.ask(path, "admin", form={"version": "1"})).code == 404
    assert (await client.ask(f"/admin/vms/{world.vms['kali']}", "admin", form={"name": "x"})).code == 404
