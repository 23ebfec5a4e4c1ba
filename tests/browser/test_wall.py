"""The wall: the screens of a class that are in sight, without a keyboard, gone when nobody looks."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Locator, Page, expect

from cyberlab.db import assignments, vms
from cyberlab.db.models import VmKind
from cyberlab.handlers.teacher import wall
from tests import patience
from tests.browser.conftest import OpenPage
from tests.browser.console import RED, ScriptedConsole
from tests.web import TEST, World, resource

FULL = {"code": "too-many-consoles", "title": "Too many consoles are open", "advice": "Close some.", "retry": False}
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(autouse=True)
def machines(world: World) -> None:
    """Beside "kali", which runs: two more that run, one that does not, and a container."""
    rows = (("lab-1", "running"), ("lab-2", "running"), ("lab-3", "stopped"), ("box", "running"))
    with world.database.transaction() as s:
        for number, (name, status) in enumerate(rows, 200):
            kind = VmKind.LXC if name == "box" else VmKind.QEMU
            vm = vms.create(s, TEST, cluster="pve", vmid=number, kind=kind, node="pve1", name=name)
            assignments.create(s, TEST, vm_id=vm.id, group_id=world.group)
            world.cluster.found.append(resource(number, name, status, kind=kind.value))


def _tile(page: Page, machine: str) -> Locator:
    return page.locator(".tile").filter(has=page.get_by_role("link", name=machine))


async def _live(page: Page, *machines: str) -> None:
    for machine in machines:
        await expect(_tile(page, machine)).to_have_attribute("data-phase", "live")
    await expect(page.locator("[data-phase=live]")).to_have_count(len(machines))


@pytest.mark.gen_test(timeout=90)
async def test_screens_in_sight_are_shown(
    open_page: OpenPage, world: World, console: ScriptedConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "SCREENS", 2)
    async with open_page("teacher", viewport={"width": 1200, "height": 900}) as page:
        await page.clock.install()
        await page.goto(f"/teacher/classes/{world.group}")
        await page.get_by_role("link", name="Wall").click()
        await _live(page, "kali", "lab-1")
        await expect(_tile(page, "lab-2")).to_contain_text("At most 2 screens are shown at once.")
        await expect(_tile(page, "lab-3")).to_contain_text("The screen appears here when the machine runs.")
        await expect(_tile(page, "box")).to_contain_text("A container has a terminal")
        await expect(_tile(page, "box").locator(".state")).to_contain_text("running")
        assert all(uri.endswith("?watch=1&wall=1") for uri in console.live)
        picture = _tile(page, "kali").locator("canvas")
        pixel = "canvas => Array.from(canvas.getContext('2d').getImageData(5, 5, 1, 1).data)"
        while await picture.evaluate(pixel) != [*RED[:3], 255]:  # noVNC paints when the browser is about to
            await page.evaluate("new Promise(requestAnimationFrame)")

        await page.evaluate(HIDE, True)
        await page.clock.fast_forward(6_000)
        await expect(page.locator("[data-phase=closed]")).to_have_count(5)
        async with asyncio.timeout(patience.SECONDS), console.gone:
            await console.gone.wait_for(lambda: console.live == [])
        console.end = FULL
        await page.evaluate(HIDE, False)
        await expect(_tile(page, "kali")).to_contain_text("Close some. It is tried again by itself.")
        await expect(_tile(page, "lab-1")).to_contain_text("Too many consoles are open.")
        console.end = None
        await page.clock.fast_forward(61_000)
        await expect(page.locator("[data-phase=live]")).to_have_count(2)

        await _tile(page, "kali").get_by_role("link").focus()
        await page.keyboard.press("a")
        await page.keyboard.press("Enter")
        await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
        assert console.keys == []
        await page.get_by_role("link", name="Disconnect and go back").click()
        await _live(page, "kali", "lab-1")
