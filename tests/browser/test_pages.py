from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from cyberlab.db import assignments, users, vms
from cyberlab.inventory_watch import ClusterWatch
from tests.browser.conftest import OpenPage
from tests.web import PASSWORD, World, resource

PHONE = {"width": 360, "height": 740}


@pytest.mark.gen_test
async def test_sign_in_by_keyboard_and_out(open_page: OpenPage) -> None:
    async with open_page() as page:
        await page.goto("/student")
        await expect(page).to_have_title("Sign in · CyberLab")
        await expect(page.get_by_label("User name")).to_be_focused()
        await page.keyboard.type("student")
        await page.keyboard.press("Tab")
        await page.keyboard.type("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("do not match")
        await expect(page.get_by_label("User name")).to_have_value("student")
        await expect(page.get_by_label("Password")).to_be_focused()
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page).to_have_title("My machines · CyberLab")
        await page.get_by_text("A. Student").click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page).to_have_title("Sign in · CyberLab")
        await page.goto("/student")
        await expect(page).to_have_title("Sign in · CyberLab")


@pytest.mark.gen_test
async def test_states_arrive_and_a_machine_starts(open_page: OpenPage, world: World) -> None:
    world.cluster.found = [resource(100, "kali", "stopped")]
    async with open_page("student") as page:
        await expect(page.get_by_text("stopped", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Start kali").click()
        await expect(page.get_by_role("status").filter(has_text="kali is being started")).to_be_visible()
        await expect(page.get_by_text("starting…")).to_be_visible()
        world.cluster.found = [resource(100, "kali")]
        world.cluster.tasks_may_end.set()
        await expect(page.get_by_text("running", exact=True)).to_be_visible()
        await expect(page.get_by_role("button", name="Start kali")).to_be_hidden()


@pytest.mark.gen_test
async def test_the_skip_link_comes_first(open_page: OpenPage) -> None:
    async with open_page("student") as page:
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()


@pytest.mark.gen_test
async def test_a_user_is_created_edited_and_removed(open_page: OpenPage, world: World) -> None:
    async with open_page("admin") as page:
        await page.get_by_role("navigation", name="Admin").get_by_role("link", name="Users").click()
        await page.get_by_role("link", name="New user").click()
        await page.get_by_label("User name").fill("anna")
        await page.get_by_label("Password").fill("short")
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("alert")).to_contain_text("at least 8")
        await expect(page.get_by_label("User name")).to_have_value("anna")
        await expect(page.get_by_label("Password")).to_have_accessible_description(
            "A password has at least 8 characters. At least 8 characters, at most 72 bytes."
        )
        await page.get_by_label("Password").fill("walnut-kettle-orbit")
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("status")).to_have_text("User anna was created.")

        await page.get_by_role("link", name="Edit anna").click()
        await page.get_by_label("Name").fill("Anna A.")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("row", name="anna")).to_contain_text("Anna A.")

        await page.get_by_role("link", name="Remove anna").click()
        await page.get_by_role("button", name="Remove the user").click()
        await expect(page.get_by_role("status")).to_have_text("User anna was removed.")
        assert await world.database.run(users.by_name, "anna") is None


@pytest.mark.gen_test
async def test_a_machine_that_was_found_is_assigned(open_page: OpenPage, world: World) -> None:
    world.cluster.found.append(resource(300, "fresh"))
    await ClusterWatch(world.database, world.portal.clusters["pve"]).look()
    async with open_page("admin") as page:
        await page.goto("/admin/vms")
        await expect(page.get_by_role("row", name="fresh")).to_contain_text("running")

        await page.goto("/admin/assignments/new?vm=pve/300")
        await expect(page.get_by_label("Machine")).to_have_value("pve/300")
        await page.get_by_label("User").press_sequentially("oth")
        await expect(page.locator("#user-list option")).to_have_text(["A. Other · other"])  # Firefox shows no more
        await page.get_by_label("User").fill("other")
        await page.get_by_label("Until").fill("2030-12-18T10:30")
        await page.get_by_label("switch it on and off").check()
        await page.get_by_role("button", name="Assign").click()
        await expect(page.get_by_role("row", name="fresh")).to_contain_text("until 18 Dec 2030, 10:30")
        vm = await world.database.run(vms.by_ref, "pve", 300)
        assert vm is not None
        row = await world.database.run(assignments.find, vm_id=vm.id, user_id=world.users["other"])
        assert row is not None
        assert row.can_power

        await page.get_by_role("link", name="Remove the assignment of fresh").click()
        await page.get_by_role("button", name="Remove the assignment").click()
        await expect(page.get_by_role("row", name="fresh")).to_have_count(0)


@pytest.mark.gen_test(timeout=90)
async def test_every_page_fits_a_phone_in_light_and_dark(open_page: OpenPage, world: World) -> None:
    student, kali = world.users["student"], world.vms["kali"]
    paths = [
        "/student", "/admin", "/admin/users", f"/admin/users/{student}", f"/admin/users/{student}/remove",
        "/account", "/account/password", "/account/totp", "/account/passkeys", "/account/recovery",
        f"/admin/users/{student}/factors", f"/admin/users/{student}/active",
        f"/admin/users/{student}/password", "/admin/users/new", "/admin/vms",
        f"/admin/vms/{kali}", "/admin/consoles", "/admin/consoles/past", "/admin/logins", "/admin/audit",
        "/admin/health", "/admin/assignments", "/admin/assignments/new",
        "/admin/classes", "/admin/classes/new", f"/admin/classes/{world.group}",
        f"/admin/classes/{world.group}/archive",
        f"/admin/assignments/pair?class={world.group}&machines=*&by=order", "/admin/import", "/admin/changes",
        f"/admin/assignments/{world.assignment}", f"/teacher/console/{kali}", "/nothing",
    ]  # fmt: skip
    for scheme in ("light", "dark"):
        async with open_page("admin", viewport=PHONE, color_scheme=scheme) as page:
            for path in paths:
                await page.goto(path)
                assert await _overflow(page) == 0, path


async def _overflow(page: Page) -> int:
    wide: int = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide
