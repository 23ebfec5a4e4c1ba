"""A container's terminal from the sign-in form to what is typed in it: OpenSSH, the real server, a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests import patience
from tests.e2e.conftest import Visit
from tests.e2e.lab import Lab

ROWS = "#terminal .xterm-rows"


async def opened(page: Page) -> None:
    """The terminal is there and shows a prompt."""
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
    await expect(page.locator(ROWS)).to_contain_text("root@lxc-proxy:~#")


@pytest.mark.gen_test(timeout=90)
async def test_a_student_types_into_a_container(lab: Lab, visit: Visit) -> None:
    async with visit(lab, "ada") as page:
        await page.get_by_role("link", name="Open lxc-proxy").click()
        await opened(page)
        await page.keyboard.type("echo hällo $((1))\n")
        await expect(page.locator(ROWS)).to_contain_text("hällo $((1))root@lxc-proxy")  # rows, joined
        await page.keyboard.type("half a li")
        await page.reload()
        await opened(page)
        await expect(page.locator(ROWS)).to_contain_text("# half a li")
        await page.keyboard.press("Control+c")
        await page.keyboard.type("stty size\n")
        wide = await page.evaluate("document.querySelector('#terminal .xterm-rows').children.length")
        await expect(page.locator(ROWS)).to_contain_text(f"{wide} ")
        await page.set_viewport_size({"width": 360, "height": 640})
        await page.keyboard.type("clear\nstty size\n")
        await expect(page.locator(ROWS)).to_contain_text(re.compile(r"size\d+ 3\droot@"))
    assert "PVEVNC" not in lab.portal_log
    assert "PVEAuthCookie" not in lab.portal_log


@pytest.mark.gen_test(timeout=90)
async def test_the_teacher_is_beside_the_student_in_the_same_terminal(lab: Lab, visit: Visit) -> None:
    lab.command("assign", "tom", "demo/300")
    async with visit(lab, "ada") as student, visit(lab, "tom") as other:
        await student.get_by_role("link", name="Open lxc-proxy").click()
        await opened(student)
        await other.goto(student.url.replace("/student/", "/teacher/"))
        await opened(other)
        await student.keyboard.type("clear\necho from the student\n")
        await expect(other.locator(ROWS)).to_contain_text("from the student")
        await other.keyboard.type("echo from the teacher\n")
        await expect(student.locator(ROWS)).to_contain_text("from the teacher")


@pytest.mark.gen_test(timeout=90)
async def test_taking_the_container_away_closes_its_terminal_with_the_reason(lab: Lab, visit: Visit) -> None:
    async with visit(lab, "ada") as page:
        await page.get_by_role("link", name="Open lxc-proxy").click()
        await opened(page)
        lab.command("unassign", "ada", "demo/300")
        await expect(page.locator("body")).to_contain_text("no longer assigned to you", timeout=patience.AT_ONCE)
    lab.command("assign", "ada", "demo/300")
