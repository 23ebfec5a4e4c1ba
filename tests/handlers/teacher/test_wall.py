"""The wall of screens: a tile for each machine of the class, and no more than there is room for."""

from __future__ import annotations

import re

import pytest

from cyberlab.console.registry import Registry
from cyberlab.db import assignments, groups, users, vms
from cyberlab.db.models import MembershipRole, Role, VmKind
from cyberlab.handlers.teacher.wall import SCREENS
from cyberlab.settings import Settings
from tests.web import TEST, Client, World, text


@pytest.fixture
def path(world: World) -> str:
    return f"/teacher/classes/{world.group}/wall"


@pytest.mark.gen_test
async def test_a_tile_for_each_machine(client: Client, world: World, path: str) -> None:
    with world.database.transaction() as s:
        eve = users.create(s, TEST, username="eve", role=Role.STUDENT, display_name="Eve <script>")
        groups.add_member(s, TEST, world.group, eve.id, MembershipRole.STUDENT)
        assignments.create(s, TEST, vm_id=world.vms["kali"], user_id=eve.id)
        box = vms.create(s, TEST, cluster="pve", vmid=300, kind=VmKind.LXC, node="pve1", name="box").id
        assignments.create(s, TEST, vm_id=box, group_id=world.group)
    world.cluster.hangs = True  # the page does not wait for it
    page = text(await client.ask(path, "teacher"))
    kali = world.vms["kali"]
    assert re.findall('data-socket=.([^"]*)', page) == [f"/vnc-proxy/ws/{kali}?watch=1&amp;wall=1"]
    assert "A. Student, Eve &lt;script&gt; <small>kali</small>" in page, "one tile for those who share it"
    assert "whole class <small>box</small>" in page
    assert "A container has a terminal" in page
    for vm in (kali, box):
        assert f'href="/teacher/console/{vm}?class={world.group}&amp;wall=1"' in page
    assert "style=" not in page
    back = text(await client.ask(f"/teacher/console/{kali}?class={world.group}&wall=1", "teacher"))
    assert f'data-back="{path}"' in back


@pytest.mark.gen_test
async def test_an_empty_wall_says_what_to_do(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        empty = groups.create(s, TEST, name="Empty").id
    page = text(await client.ask(f"/teacher/classes/{empty}/wall", "admin"))
    assert "This class has no machine now" in page
    assert "/wall" not in text(await client.ask(f"/teacher/classes/{empty}", "admin"))


@pytest.mark.gen_test
async def test_it_is_for_who_runs_the_class(client: Client, world: World, path: str) -> None:
    assert f'href="{path}"' in text(await client.ask(path.removesuffix("/wall"), "teacher"))
    for who in ("student", "other"):
        assert (await client.ask(path, who)).code == 403
    with world.database.transaction() as s:
        foreign = groups.create(s, TEST, name="Somebody else's").id
    assert (await client.ask(f"/teacher/classes/{foreign}/wall", "teacher")).code == 403
    assert (await client.ask("/teacher/classes/999/wall", "teacher")).code == 404


def test_a_whole_wall_fits_the_limit_that_holds_when_nothing_is_set() -> None:
    assert Registry(limit_per_user=Settings(_env_file=None).console_max_per_user).wall_limit == SCREENS
