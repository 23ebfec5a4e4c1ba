"""The admins' pages whose parts come later, or change by themselves."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from cyberlab.console.registry import ConsoleRequest
from cyberlab.proxmox.answers import Snapshot
from tests.browser.conftest import OpenPage
from tests.web import World


@pytest.mark.gen_test
async def test_live_consoles_come_and_go_without_a_reload(open_page: OpenPage, world: World) -> None:
    ended: list[str] = []
    request = ConsoleRequest(world.users["student"], "student", 1, world.vms["kali"], "pve/100 kali")
    async with open_page("admin") as page:
        await page.goto("/admin/consoles")
        await expect(page.get_by_role("heading", name="No console is open")).to_be_visible()
        with world.portal.registry.entry(request, ended.append):
            row = page.get_by_role("row", name="student")
            await expect(row).to_be_visible()
            await row.get_by_role("button", name="Disconnect student from pve/100 kali").click()
            await expect(page.get_by_role("status").filter(has_text="One console was ended.")).to_be_visible()
        assert ended == ["disconnected"]
        await expect(page.get_by_role("heading", name="No console is open")).to_be_visible()


@pytest.mark.gen_test
async def test_what_is_asked_for_after_the_page_fills_it(open_page: OpenPage, world: World) -> None:
    world.cluster.kept = [Snapshot("lesson3", "<script>alert(1)</script>")]
    async with open_page("admin") as page:
        await page.goto(f"/admin/vms/{world.vms['kali']}")
        await expect(page.locator("#snapshots")).to_contain_text("lesson3")
        await expect(page.locator("#snapshots")).to_contain_text("<script>alert(1)</script>")
        await page.goto("/admin/health")
        await expect(page.locator("#clusters")).to_contain_text("2 of 2 online")
        await expect(page.locator("#portal")).to_contain_text("SQLite")


@pytest.mark.gen_test
async def test_many_machines_are_ticked_and_started(open_page: OpenPage, world: World) -> None:
    world.cluster.tasks_may_end.set()
    async with open_page("admin") as page:
        await page.goto("/admin/vms")
        await page.get_by_label("Select all on this page").check()
        await page.get_by_label("Select other").uncheck()
        await page.get_by_role("button", name="Start", exact=True).click()
        await expect(page).to_have_url(re.compile(r"/admin/vms/operations/\d+$"))
        await expect(page.get_by_role("status")).to_contain_text("2 of 2 have ended.")
    assert sorted(vmid for _, vmid, _ in world.cluster.asked) == [100, 101]
