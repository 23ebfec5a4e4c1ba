"""From the sign-in form to pixels that change after typing: OpenSSH, QEMU, the real server, a real browser."""

from __future__ import annotations

import hashlib
import time

import pytest
from playwright.async_api import Page, expect

from tests import patience
from tests.e2e.conftest import Visit, open_console
from tests.e2e.lab import Lab


async def picture(page: Page) -> str:
    """A fingerprint of what the canvas shows."""
    return hashlib.sha256(await page.locator("#screen canvas").screenshot()).hexdigest()


async def until_changed(page: Page, before: str) -> str:
    """The first picture that differs from ``before``; fails in the end."""
    until = time.monotonic() + patience.SECONDS
    while (now := await picture(page)) == before:
        assert time.monotonic() < until, "the picture does not change"
        await page.wait_for_timeout(50)
    return now


@pytest.mark.gen_test(timeout=90)
async def test_a_student_types_into_a_real_machine(lab: Lab, visit: Visit) -> None:
    assert lab.qemu
    async with visit(lab, "ada") as page:
        await open_console(page, "kali-07")
        await page.locator("#screen canvas").click()
        # The first keys may come before the guest has booted; what counts is that typing changes the picture.
        before = await picture(page)
        await page.keyboard.type("whoami")
        typed = await until_changed(page, before)
        await page.keyboard.press("Enter")
        await until_changed(page, typed)
    assert "PVEVNC" not in lab.portal_log
    assert "PVEAuthCookie" not in lab.portal_log


@pytest.mark.gen_test(timeout=90)
async def test_a_machine_on_another_node_opens_through_the_first(lab: Lab, visit: Visit) -> None:
    async with visit(lab, "ada") as page:
        await open_console(page, "web-02")


@pytest.mark.gen_test(timeout=90)
async def test_taking_the_machine_away_closes_its_console_with_the_reason(lab: Lab, visit: Visit) -> None:
    async with visit(lab, "ada") as page:
        await open_console(page, "web-02")
        lab.command("unassign", "ada", "demo/102")
        await expect(page.locator("body")).to_contain_text("no longer assigned to you", timeout=patience.AT_ONCE)
        assert "reason=unassigned" in lab.portal_log
    lab.command("assign", "ada", "demo/102")


@pytest.mark.gen_test(timeout=90)
async def test_a_machine_that_is_off_says_so_and_what_to_do(lab: Lab, visit: Visit) -> None:
    async with visit(lab, "ada") as page:
        await page.get_by_role("link", name="Open metasploit-2").click()
        await expect(page.locator("body")).to_contain_text("This machine is switched off")
        await expect(page.locator("body")).to_contain_text("Start it on the page")


@pytest.mark.gen_test(timeout=90)
async def test_somebody_elses_machine_is_refused_in_plain_words(lab: Lab, visit: Visit) -> None:
    async with visit(lab, "ben") as page:
        answer = await page.request.get(f"{lab.url}/student/console/1", headers={"Accept": "text/html"})
        assert answer.status == 403
        assert "This machine is not assigned to you" in await answer.text()


@pytest.mark.leaks_ok("the lab's portal is another process afterwards; the lab ends it")
@pytest.mark.gen_test(timeout=120)
async def test_an_orderly_restart_tells_the_page_and_the_page_comes_back(lab: Lab, visit: Visit) -> None:
    async with visit(lab, "ada") as page:
        await open_console(page, "kali-07")
        assert lab.stop_portal() == 0
        await expect(page.locator("body")).to_contain_text("Again in")
        lab.start_portal()
        await expect(page.locator("body")).to_contain_text("connected")
