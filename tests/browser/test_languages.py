from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from cyberlab.db import assignments, users
from tests.browser.conftest import OpenPage
from tests.browser.console import ScriptedConsole
from tests.web import PASSWORD, TEST, World

PHONE = {"width": 360, "height": 740}


@pytest.mark.gen_test
async def test_a_german_browser_gets_german_pages_until_english_is_chosen(open_page: OpenPage) -> None:
    async with open_page("student", locale="de-DE") as page:
        await expect(page).to_have_title("Meine Maschinen · CyberLab")
        await expect(page.get_by_text("läuft", exact=True)).to_be_visible()
        await page.goto("/account/preferences")
        await page.get_by_label("Sprache").select_option("en")
        await page.get_by_role("button", name="Speichern").click()
        await expect(page.get_by_role("status")).to_have_text("Language and time zone were saved.")
        await page.goto("/student")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await page.get_by_text("A. Student").click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page).to_have_title("Anmelden · CyberLab")


@pytest.mark.gen_test
async def test_a_language_is_chosen_on_the_sign_in_page(open_page: OpenPage) -> None:
    async with open_page() as page:
        await page.goto("/student")
        await page.get_by_role("button", name="Deutsch").click()
        await page.get_by_label("Benutzername").fill("student")
        await page.get_by_label("Passwort").fill(PASSWORD)
        await page.get_by_role("button", name="Anmelden").click()
        await expect(page).to_have_title("Meine Maschinen · CyberLab")


@pytest.mark.gen_test
async def test_times_are_shown_and_read_in_the_browser_s_zone(open_page: OpenPage, world: World) -> None:
    async with open_page("admin", timezone_id="America/New_York") as page:
        await page.goto("/admin/assignments/new?user=student&vm=pve/101")
        await expect(page.get_by_text("Times are those of America/New_York.")).to_be_visible()
        await page.get_by_label("From").fill("2030-03-10T02:30")  # the clocks go from 2 to 3
        await page.get_by_label("Until").fill("2030-07-01T08:00")
        await page.get_by_role("button", name="Assign", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("That time does not exist")
        await expect(page.get_by_label("Until")).to_have_value("2030-07-01T08:00")
        await page.get_by_label("From").fill("2030-03-10T03:30")
        await page.get_by_role("button", name="Assign", exact=True).click()
        await expect(page.get_by_role("row", name="spare")).to_contain_text("10 Mar 2030, 03:30 – 1 Jul 2030, 08:00")
        await page.get_by_role("link", name="Edit the assignment of spare").click()
        await expect(page.get_by_label("Until")).to_have_value("2030-07-01T08:00")
    row = await world.database.run(assignments.find, vm_id=world.vms["spare"], user_id=world.users["student"])
    assert row is not None
    assert row.starts_at == datetime(2030, 3, 10, 7, 30, tzinfo=UTC)
    assert row.ends_at == datetime(2030, 7, 1, 12, 0, tzinfo=UTC)


@pytest.mark.gen_test
async def test_the_console_speaks_the_language(open_page: OpenPage, console: ScriptedConsole, world: World) -> None:
    async with open_page("student", locale="de-DE") as page:
        await page.goto(f"/student/console/{world.vms['kali']}")
        await expect(page.locator("#phase")).to_have_text("verbunden")
        await page.get_by_role("button", name="Tippen").click()
        await page.get_by_label("Tastatur der Maschine").select_option("Deutsch")
        await page.get_by_role("textbox", name="Text").fill("ab")
        await page.get_by_role("button", name="Eintippen").click()
        await expect(page.locator("#text-status")).to_have_text("2 von 2 Zeichen getippt")


@pytest.mark.gen_test
async def test_a_zone_is_chosen_from_suggestions(open_page: OpenPage) -> None:
    async with open_page("student", timezone_id="America/New_York") as page:
        await page.goto("/account/preferences")
        await expect(page.get_by_text("now America/New_York")).to_be_visible()
        await page.get_by_label("Time zone").press_sequentially("berl")
        await expect(page.locator("#time_zone-list option")).to_have_count(1)
        await page.get_by_label("Time zone").fill("Europe/Berlin")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("English · Europe/Berlin")).to_be_visible()


@pytest.mark.gen_test(timeout=120)
async def test_german_fits_a_phone(open_page: OpenPage, world: World) -> None:
    student, kali = world.users["student"], world.vms["kali"]
    paths = [
        "/student",
        "/teacher",
        "/account",
        "/account/preferences",
        "/account/password",
        "/account/totp",
        "/admin",
        "/admin/users",
        f"/admin/users/{student}",
        f"/admin/users/{student}/active",
        f"/admin/users/{student}/factors",
        f"/admin/users/{student}/remove",
        "/admin/vms",
        f"/admin/vms/{kali}",
        "/admin/assignments",
        f"/admin/assignments/{world.assignment}",
        "/admin/assignments/new",
        "/admin/classes",
        "/admin/consoles",
        "/admin/logins",
        "/admin/audit",
        "/admin/changes",
        "/admin/health",
        "/nowhere",
    ]
    await world.database.run(users.set_preferences, world.users["admin"], language="de", time_zone="Europe/Berlin")
    await world.database.run(
        assignments.update,
        TEST,
        world.assignment,
        starts_at=datetime(2026, 10, 1, 6, 30, tzinfo=UTC),
        ends_at=datetime(2030, 12, 18, 17, 0, tzinfo=UTC),
        can_power=True,
        can_reset=True,
    )
    async with open_page("admin", viewport=PHONE) as page:
        for path in paths:
            await page.goto(path)
            await expect(page.locator("html")).to_have_attribute("lang", "de")
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
