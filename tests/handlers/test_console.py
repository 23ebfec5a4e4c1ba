from __future__ import annotations

import asyncio
import json
import socket

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import assignments, vms
from cyberlab.db.models import VmKind
from tests.web import TEST, Client, World, text


@pytest.mark.gen_test
async def test_the_page_names_what_it_opens(client: Client, world: World) -> None:
    vm = world.vms["kali"]
    for who, side, back in (("student", "student", "/student"), ("teacher", "teacher", "/teacher")):
        page = text(await client.ask(f"/{side}/console/{vm}", who))
        assert "<title>kali · CyberLab</title>" in page
        for attribute in (
            f'data-socket="/vnc-proxy/ws/{vm}"',
            f'data-status="/vnc-proxy/status/{vm}"',
            f'data-back="{back}"',
        ):
            assert attribute in page
        assert "style=" not in page
        assert " onclick" not in page


@pytest.mark.gen_test
async def test_the_scripts_that_it_names_exist(client: Client, world: World) -> None:
    page = text(await client.ask(f"/student/console/{world.vms['kali']}", "student"))
    scripts = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert scripts == [world.portal.assets.url("console.js")]
    assert (await client.ask(scripts[0])).code == 200


@pytest.mark.gen_test
async def test_a_container_gets_a_terminal(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        container = vms.ensure(s, TEST, cluster="pve", vmid=300, kind=VmKind.LXC, node="pve1", name="proxy").id
    for side in ("student", "teacher"):
        page = text(await client.ask(f"/{side}/console/{container}", "admin"))
        assert f'data-socket="/vnc-proxy/ws/{container}"' in page
        assert "style=" not in page
        names = [part.split('"')[0] for part in page.split('src="')[1:]]
        names += [part.split('"')[0] for part in page.split('<link rel="stylesheet" href="')[1:]]
        assert names == [world.portal.assets.url(f) for f in ("terminal.js", "console.css", "vendor/xterm/xterm.css")]


@pytest.mark.parametrize(
    ("who", "vm", "code", "title"),
    [
        ("student", "kali", 200, None),
        (None, "kali", 401, "Please sign in"),
        ("student", "spare", 403, "This machine is not assigned to you"),
        ("admin", "spare", 200, None),
    ],
)
@pytest.mark.gen_test
async def test_status(client: Client, world: World, who: str | None, vm: str, code: int, title: str | None) -> None:
    response = await client.ask(f"/vnc-proxy/status/{world.vms[vm]}", who)
    answer = json.loads(response.body)
    assert (response.code, answer.get("title")) == (code, title)
    if title:
        assert answer["advice"]
        assert answer["request_id"] == response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http%3A%2F%2F127.0.0.1%3A8080", 200),  # PUBLIC_URL
        ("https%3A%2F%2Fevil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
@pytest.mark.gen_test
async def test_status_tells_of_a_wrong_public_url(client: Client, world: World, origin: str, code: int) -> None:
    response = await client.ask(f"/vnc-proxy/status/{world.vms['kali']}?origin={origin}", "student")
    assert response.code == code
    assert ("PUBLIC_URL" in text(response)) == (code == 403)


@pytest.mark.gen_test
async def test_status_tells_of_a_cluster_that_is_not_set_up(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        vm = vms.create(s, TEST, cluster="old", vmid=100, kind=VmKind.QEMU, node="pve1", name="old")
        assignments.create(s, TEST, vm_id=vm.id, user_id=world.users["student"])
    response = await client.ask(f"/vnc-proxy/status/{vm.id}", "student")
    assert (response.code, json.loads(response.body)["title"]) == (503, "This machine's cluster is not set up")
    assert (await client.ask(f"/vnc-proxy/status/{world.vms['kali']}", "student")).code == 200
    world.portal.registry.draining = True
    assert (await client.ask(f"/vnc-proxy/status/{world.vms['kali']}", "student")).code == 503


class Gate:
    """Notes what is asked of the gateway, and hangs up."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[ConsoleRequest] = asyncio.Queue()

    def take(self, sock: socket.socket, client: object, request: ConsoleRequest, source: object) -> None:
        sock.close()
        self.taken.put_nowait(request)


async def _connect(world: World, base_url: str, path: str, who: str) -> ConsoleRequest | int:
    """Open a websocket: what the gateway was asked for, or the status of the refusal."""
    gate = Gate()
    object.__setattr__(world.portal, "gateway", gate)
    asked = HTTPRequest(base_url.replace("http", "ws") + path, headers={"Cookie": f"cyberlab={world.tokens[who]}"})
    try:
        connection = await websocket_connect(asked)
    except HTTPClientError as error:
        return error.code
    request = await gate.taken.get()
    connection.close()
    return request


@pytest.mark.gen_test
async def test_watching_is_decided_by_the_server(client: Client, world: World, base_url: str) -> None:
    vm = world.vms["kali"]
    page = text(await client.ask(f"/teacher/watch/{vm}?class={world.group}", "teacher"))
    assert f'data-socket="/vnc-proxy/ws/{vm}?watch=1"' in page
    assert f'data-back="/teacher/classes/{world.group}"' in page
    assert "view only" in page
    watched = await _connect(world, base_url, f"/vnc-proxy/ws/{vm}?watch=1", "teacher")
    assert isinstance(watched, ConsoleRequest)
    assert (watched.view_only, watched.as_teacher, watched.wall) == (True, True, False)
    tile = await _connect(world, base_url, f"/vnc-proxy/ws/{vm}?watch=1&wall=1", "teacher")
    assert isinstance(tile, ConsoleRequest)
    assert (tile.view_only, tile.wall) == (True, True)
    hidden = await _connect(world, base_url, f"/vnc-proxy/ws/{vm}?wall=1", "teacher")
    assert isinstance(hidden, ConsoleRequest)
    assert (hidden.view_only, hidden.wall) == (False, False), "who may type is never taken for a tile"
    opened = await _connect(world, base_url, f"/vnc-proxy/ws/{vm}", "teacher")
    assert isinstance(opened, ConsoleRequest)
    assert opened.view_only is False
    for who in ("student", "other"):
        assert await _connect(world, base_url, f"/vnc-proxy/ws/{vm}?watch=1", who) == 403
        assert (await client.ask(f"/teacher/watch/{vm}", who)).code == 403
    assert (await client.ask(f"/teacher/watch/{world.vms['other']}", "teacher")).code == 403


@pytest.mark.parametrize("group", ["", "x", "1/../../admin", "//evil.example"])
@pytest.mark.gen_test
async def test_the_way_back_is_a_page_of_ours(client: Client, world: World, group: str) -> None:
    page = text(await client.ask(f"/teacher/console/{world.vms['kali']}?class={group}", "teacher"))
    assert 'data-back="/teacher"' in page
