"""Machines that are acted on: a student's reset with its progress, a teacher's class at once, watching."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Page, expect

from cyberlab.db import assignments, holdings, vms
from cyberlab.db.models import VmKind
from cyberlab.problems import VM_LOCKED, Problem
from tests import patience
from tests.browser.conftest import OpenPage
from tests.browser.console import ScriptedConsole
from tests.browser.test_accessibility import AXE, complaints
from tests.web import TEST, World, resource

PHONE = {"width": 360, "height": 740}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """A class of three more machines, and a snapshot to go back to."""
    with world.database.transaction() as s:
        assignments.update(s, TEST, world.assignment, starts_at=None, ends_at=None, can_power=True, can_reset=True)
        holdings.name_snapshot(s, TEST, [world.vms["kali"]], "lesson-3")
        for number in range(3):
            vm = vms.create(
                s, TEST, cluster="pve", vmid=200 + number, kind=VmKind.QEMU, node="pve1", name=f"lab-{number}"
            )
            assignments.create(s, TEST, vm_id=vm.id, group_id=world.group)
            world.vms[vm.name] = vm.id
            world.cluster.found.append(resource(200 + number, vm.name, "stopped"))
            world.cluster.snapshot_names[200 + number] = ["lesson-4", "lesson-3"]


async def _fits(page: Page) -> None:
    await page.evaluate(AXE.read_text())
    assert await complaints(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


@pytest.mark.gen_test
async def test_states_are_asked_for_when_back_brings_the_page_again(open_page: OpenPage) -> None:
    """Nor does a page complain when it is left: Firefox and Safari break its requests off as a link is followed."""
    async with open_page("student") as page:
        message = page.locator("[data-states-message]")
        await expect(page.get_by_role("listitem").filter(has_text="kali")).to_contain_text("running")
        await page.route("**/student/states", lambda route: route.abort())
        await page.evaluate("window.dispatchEvent(new Event('beforeunload'))")
        async with page.expect_event("requestfailed"):
            await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(message).to_be_hidden()
        await page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        await expect(message).to_contain_text("does not answer")


@pytest.mark.gen_test
async def test_a_student_resets_a_machine(open_page: OpenPage, world: World) -> None:
    async with open_page("student") as page:
        card = page.get_by_role("listitem").filter(has_text="kali")
        await expect(card).to_contain_text("running")
        await expect(card.get_by_role("button", name="Start kali")).to_be_hidden()
        await card.locator("summary").focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Escape")
        await expect(card.get_by_role("link", name="Reset to")).to_be_hidden()
        await expect(card.locator("summary")).to_be_focused()
        await page.keyboard.press("Enter")
        await card.get_by_role("link", name="Reset to “lesson-3”").click()
        await expect(page.get_by_role("heading")).to_have_text("Reset kali to “lesson-3”?")
        await page.get_by_role("button", name="Reset it").click()
        await expect(page.locator(".notice")).to_contain_text("kali is being reset")
        await expect(card).to_contain_text("being reset…")
        await expect(card.get_by_role("progressbar")).to_be_visible()
        world.cluster.tasks_may_end.set()
        await expect(card).to_contain_text("running")
        await expect(card.get_by_role("progressbar")).to_be_hidden()
        assert world.cluster.asked == [("reset", 100, "lesson-3")]


@pytest.mark.gen_test
async def test_a_failure_is_said_on_the_card(open_page: OpenPage, world: World) -> None:
    world.cluster.tasks_may_end.set()
    world.cluster.task_problems[200] = Problem(VM_LOCKED)
    with world.database.transaction() as s:
        assignments.create(s, TEST, vm_id=world.vms["lab-0"], user_id=world.users["student"], can_power=True)
    async with open_page("student", viewport=PHONE, bypass_csp=True) as page:
        card = page.get_by_role("listitem").filter(has_text="lab-0")
        await card.get_by_role("button", name="Start lab-0").click()
        await expect(card.get_by_role("alert")).to_contain_text("It could not be started: This machine is busy")
        await _fits(page)
        await card.get_by_role("link", name="More about this").click()
        await expect(page).to_have_url(re.compile("/help/vm-locked$"))


@pytest.mark.gen_test
async def test_the_page_follows_what_is_assigned(open_page: OpenPage, world: World) -> None:
    async with open_page("student") as page:
        await expect(page.get_by_role("listitem").filter(has_text="kali")).to_contain_text("running")
        with world.database.transaction() as s:
            assignments.create(s, TEST, vm_id=world.vms["spare"], user_id=world.users["student"])
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # asks at once
        await expect(page.get_by_role("heading", name="spare")).to_be_visible()


@pytest.mark.gen_test
async def test_a_teacher_starts_a_class(open_page: OpenPage, world: World) -> None:
    world.cluster.task_problems[202] = Problem(VM_LOCKED)
    async with open_page("teacher") as page:
        await expect(page.get_by_text("4 machines")).to_be_visible()
        await page.get_by_role("link", name="Network security", exact=True).click()
        await expect(page.get_by_text("1 of 4 running, 0 connected")).to_be_visible()
        start = page.get_by_role("toolbar").get_by_role("button", name="Start")
        await expect(start).to_be_disabled()
        await page.get_by_role("button", name="stopped").click()
        await expect(page.get_by_text("3 chosen:")).to_be_visible()
        await start.click()
        await expect(page.get_by_role("row", name="lab-1")).to_contain_text("starting…")
        batch = page.get_by_role("region", name="What was asked for last")
        await expect(batch).to_contain_text("Start 3 machines")
        await batch.get_by_role("link").click()
        await expect(page.get_by_text("0 of 3 done")).to_be_visible()
        world.cluster.tasks_may_end.set()
        await expect(page.get_by_text("2 done, 1 failed")).to_be_visible()
        failed = page.get_by_role("row", name="lab-2")
        await expect(failed).to_contain_text("busy with a backup")
        await expect(failed.get_by_role("link", name="More about this")).to_have_attribute("href", "/help/vm-locked")
        world.cluster.task_problems.clear()
        await page.get_by_role("button", name="Try the one that failed again").click()
        await expect(batch).to_contain_text("all done")
        assert sorted(vmid for _, vmid, _ in world.cluster.asked) == [200, 201, 202, 202]


@pytest.mark.gen_test
async def test_a_teacher_chooses_a_snapshot_for_all(open_page: OpenPage, world: World) -> None:
    world.cluster.tasks_may_end.set()
    async with open_page("teacher", viewport=PHONE, bypass_csp=True) as page:
        await page.goto(f"/teacher/classes/{world.group}")
        for number in range(3):
            await page.get_by_role("checkbox", name=f"Choose lab-{number}").check()
        await page.get_by_role("toolbar").get_by_role("button", name="Reset…").click()
        await expect(page.get_by_role("heading")).to_have_text("Reset 3 machines?")
        await expect(page.get_by_role("radio", name="lesson-4")).to_be_checked()
        await _fits(page)
        await page.get_by_role("radio", name="lesson-3").check()
        await page.get_by_role("checkbox", name="Name it").check()
        await page.get_by_role("button", name="Reset now").click()
        await expect(page.get_by_role("region", name="What was asked for last")).to_contain_text("all done")
        await expect(page.get_by_text("resets to lesson-3")).to_have_count(4)
        await _fits(page)
        assert sorted(world.cluster.asked) == [("reset", 200 + number, "lesson-3") for number in range(3)]


@pytest.mark.gen_test
async def test_watching_types_nothing(open_page: OpenPage, world: World, console: ScriptedConsole) -> None:
    async with open_page("teacher") as page:
        await page.goto(f"/teacher/classes/{world.group}")
        await page.get_by_role("link", name="Watch kali").click()
        await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
        await expect(page.get_by_text("view only")).to_be_visible()
        await expect(page.get_by_role("button", name="Type", exact=True)).to_be_hidden()
        await expect(page.get_by_role("button", name="Ctrl+Alt+Del").first).to_be_hidden()
        await page.locator("#screen canvas").click()
        await page.keyboard.press("a")
        await page.get_by_role("link", name="Disconnect and go back").click()
        await expect(page).to_have_url(re.compile(f"/teacher/classes/{world.group}$"))
        async with asyncio.timeout(patience.SECONDS):
            while console.sockets[-1].ws_connection is not None:
                await asyncio.sleep(0.02)
        assert console.keys == []
