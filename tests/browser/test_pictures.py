"""The last picture of a machine on its card: seen by who left it, in that tab, for as long as it can be true."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from cyberlab.db.models import Vm, utcnow
from cyberlab.proxmox.answers import Resource
from tests.browser.conftest import OpenPage, sign_in
from tests.browser.console import RED
from tests.browser.test_accessibility import AXE, complaints
from tests.web import World, resource

COLOUR = """async image => {
    await image.decode();
    const canvas = document.createElement("canvas");
    const drawing = canvas.getContext("2d");
    drawing.drawImage(image, 0, 0);
    return Array.from(drawing.getImageData(5, 5, 1, 1).data);
}"""
ASK = "document.dispatchEvent(new Event('visibilitychange'))"  # for the machines' states, at once


def is_now(world: World, status: str) -> None:
    """Machine 100, "kali"."""
    found: list[Resource] = [row for row in world.cluster.found if row.vmid != 100]
    world.cluster.found[:] = [*found, resource(100, "kali", status)]


async def look(page: Page) -> Locator:
    """Open kali's console, see its picture, go back; return its card."""
    await page.get_by_role("link", name="Open kali").click()
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
    async with page.expect_console_message(lambda message: message.text == "painted"):
        await page.evaluate("requestAnimationFrame(() => requestAnimationFrame(() => console.log('painted')))")
    await page.get_by_role("link", name="Disconnect and go back").click()
    return page.get_by_role("listitem").filter(has_text="kali")


async def stored(page: Page) -> int:
    count: int = await page.evaluate("sessionStorage.length")
    return count


@pytest.mark.gen_test
async def test_a_card_shows_what_its_owner_saw_last(open_page: OpenPage, world: World) -> None:
    async with open_page("student", bypass_csp=True) as page:
        card = await look(page)
        await expect(card.locator("figure")).to_contain_text("Your last look: this minute")
        red, green, blue, _ = await card.locator("img").evaluate(COLOUR)
        assert max(abs(red - RED[0]), abs(green - RED[1]), abs(blue - RED[2])) < 12, "but for what compression does"
        await page.evaluate(AXE.read_text())
        assert await complaints(page) == []
        await card.locator("img").click()
        await expect(page.locator("body")).to_have_attribute("data-phase", "connected")


@pytest.mark.gen_test
async def test_not_once_it_was_switched_off(open_page: OpenPage, world: World) -> None:
    async with open_page("student") as page:
        card = await look(page)
        await expect(card.locator("figure")).to_be_visible()
        is_now(world, "stopped")
        await page.evaluate(ASK)
        await expect(card.locator("figure")).to_have_count(0)
        assert await stored(page) == 0
        is_now(world, "running")
        await page.reload()
        await expect(card).to_contain_text("running")
        await expect(card.locator("figure")).to_have_count(0)


@pytest.mark.gen_test
async def test_not_for_whoever_comes_next(open_page: OpenPage, world: World) -> None:
    async with open_page("student") as page:
        card = await look(page)
        await expect(card.locator("figure")).to_be_visible()
        await page.evaluate("sessionStorage.setItem('picture 999/1', '{}')")
        await page.reload()
        await expect(card.locator("figure")).to_be_visible()
        assert await stored(page) == 1, "another user's is gone"
        await page.get_by_text("A. Student").click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await expect(page.locator("#username")).to_be_visible()
        await page.wait_for_function("sessionStorage.length === 0")
        await sign_in(page, "student")
        await expect(card).to_contain_text("running")
        await expect(card.locator("figure")).to_have_count(0)


@pytest.mark.gen_test
async def test_not_from_the_teachers_side(open_page: OpenPage, world: World) -> None:
    async with open_page("teacher") as page:
        for link in ("Watch kali", "Open kali"):
            await page.goto(f"/teacher/classes/{world.group}")
            await page.get_by_role("link", name=link).click()
            await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
            await page.goto("/student")
            assert await stored(page) == 0


@pytest.mark.gen_test
async def test_a_machine_that_vanished_keeps_none(open_page: OpenPage, world: World) -> None:
    async with open_page("student") as page:
        card = await look(page)
        await expect(card.locator("figure")).to_be_visible()
        with world.database.transaction() as s:
            s.get_one(Vm, world.vms["kali"]).vanished_at = utcnow()
        world.cluster.found.clear()
        await page.reload()  # a card without any link
        await expect(card).to_contain_text("gone from the cluster")
        await expect(card.locator("figure")).to_have_count(0)
        assert await stored(page) == 0
