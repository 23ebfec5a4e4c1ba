"""What is used most, in Firefox: signing in, a machine's screen, a container's terminal, and the way back.

Everything else is tried in Chromium; what other engines do otherwise is shown there too where that can be done.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tornado.web import Application

from cyberlab.db import assignments, vms
from cyberlab.db.models import VmKind
from cyberlab.handlers.routes import ID, make_application
from tests import services
from tests.browser.conftest import WATCH
from tests.browser.console import RED, ScriptedConsole, ScriptedSocket
from tests.browser.firefox import ENTER, firefox
from tests.browser.terminal import ScriptedTerminal, ScriptedTerminals
from tests.web import PASSWORD, TEST, World

CONNECTED = "document.body.dataset.phase === 'connected'"
PIXEL = "[...document.querySelector('#screen canvas').getContext('2d').getImageData(5, 5, 1, 1).data]"
PHASES = """(() => {
  const note = () => { sessionStorage.phases = (sessionStorage.phases ?? "") + document.body.dataset.phase; };
  new MutationObserver(note).observe(document.body, { attributeFilter: ["data-phase"] });
})()"""
ROWS = "document.querySelector('#terminal .xterm-rows').textContent"


@pytest.fixture
def terminals() -> ScriptedTerminals:
    """What the container's websocket does."""
    return ScriptedTerminals()


@pytest.fixture
def app(world: World, console: ScriptedConsole, terminals: ScriptedTerminals) -> Application:
    """The portal; the student has a machine with a scripted screen, and a container with a scripted terminal."""
    with world.database.transaction() as s:
        vm = vms.create(s, TEST, cluster="pve", vmid=300, kind=VmKind.LXC, node="pve1", name="box")
        assignments.create(s, TEST, vm_id=vm.id, user_id=world.users["student"])
        world.vms["box"] = vm.id
    application = make_application(world.portal)
    sockets = [
        (f"/vnc-proxy/ws/({world.vms['box']})", ScriptedTerminal, {"console": terminals}),
        (f"/vnc-proxy/ws/{ID}", ScriptedSocket, {"console": console}),
    ]
    application.add_handlers(".*", sockets)
    return application


@pytest.mark.gen_test(timeout=180)
async def test_a_screen_and_a_terminal(
    base_url: str, http_server: object, world: World, console: ScriptedConsole, terminals: ScriptedTerminals,
    tmp_path: Path,
) -> None:  # fmt: skip
    program = services.require("firefox")
    async with firefox(program, tmp_path / "profile", f"() => {{ {WATCH} }}") as window:
        await window.goto(f"{base_url}/auth/login")
        await window.click("[name=username]")
        await window.type("student")
        await window.click("[name=password]")
        await window.type(PASSWORD + ENTER)
        await window.until("document.querySelector('[data-state=running]')")

        await window.click(f"a[href='/student/console/{world.vms['kali']}']")
        await window.until(f"{CONNECTED} && {PIXEL}[0] === {RED[0]}")
        assert await window.run(PIXEL) == [*RED[:3], 255]
        await window.click("details.menu summary")
        await window.until("document.querySelector('details.menu').open")
        await window.click("#screen canvas")
        await window.until("!document.querySelector('details.menu').open")
        await window.type("a")
        assert await console.pressed(2) == [(1, 0x61, 0x1E), (0, 0x61, 0x1E)]
        await window.run(PHASES)
        await window.click("#leave")
        await window.until("location.pathname === '/student' && document.querySelector('[data-state=running]')")
        assert await window.run("sessionStorage.phases") is None  # it did not say that the connection was lost
        assert console.opened == 1

        await window.click(f"a[href='/student/console/{world.vms['box']}']")
        await window.until(f"{CONNECTED} && {ROWS}.includes('root@')")
        await window.type(f"echo grüße{ENTER}")
        await terminals.has("echo grüße\r".encode())
        await window.until(f"{ROWS}.includes('grüßeroot@')")
        assert window.complaints == []
