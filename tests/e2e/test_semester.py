"""A semester, as people would play it: one lab, one story after the other, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import FilePayload, Page, expect

from tests.e2e.lab import PASSWORD
from tests.e2e.people import PHONE, connected, ended, people
from tests.e2e.semester import CLASS, NEW, STUDENTS, Semester
from tests.e2e.test_console import picture, until_changed


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Semester]:
    """The lab of the whole semester; power and resets take as long as one can see."""
    made = Semester(tmp_path_factory.mktemp("semester"), real=False, simulator=("--lab", "13", "--task-seconds", "1"))
    yield made
    made.close()


def csv(name: str, *lines: str) -> FilePayload:
    """A file as a spreadsheet saves it."""
    return FilePayload(name=name, mimeType="text/csv", buffer=("\ufeff" + "\r\n".join(lines) + "\r\n").encode())


async def look_at(page: Page, kind: str, file: FilePayload) -> None:
    """Choose a file and look at what it would do."""
    await page.goto("/admin/import")
    await page.get_by_label("What is in it").select_option(kind)
    await page.get_by_label("File").set_input_files(file)
    await page.get_by_role("button", name="Look at it").click()


async def the_class(page: Page) -> None:
    """Go to the class as an admin does."""
    await page.goto("/admin/classes")
    await page.get_by_role("link", name=CLASS, exact=True).click()


def in_days(days: int) -> str:
    """What a field for a date and a time takes."""
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT09:00")


@pytest.mark.gen_test(timeout=90)
async def test_before_term_the_admin_fills_the_portal(lab: Semester) -> None:
    async with people(lab) as there:
        page = await there.enter("ann")

        # A row of the file is wrong: it is named, nothing happens; the mended file is imported.
        rows = [f"{name};{full};{name}@uni.example;student" for name, full in NEW]
        wrong = [*rows[:3], rows[3].replace("student", "studnet"), *rows[4:]]
        await look_at(page, "users", csv("people.csv", "user;name;email;role", *wrong))
        bad = page.get_by_role("row", name="5").filter(has_text="studnet")
        await expect(bad.get_by_role("cell", name="role", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Import").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        await look_at(page, "users", csv("people.csv", "user;name;email;role", *rows))
        await page.get_by_role("button", name="Import").click()
        await expect(page.get_by_text("Imported: 10 new")).to_be_visible()
        await expect(page.get_by_role("cell", name="Carl <script>alert(1)</script>")).to_be_visible()

        # A class by hand, its teacher by name, its students by a file.
        await page.goto("/admin/classes")
        await page.get_by_role("link", name="New class").click()
        await page.get_by_label("Name", exact=True).fill(CLASS)
        await page.get_by_role("button", name="Create").click()
        await page.get_by_label("User names or mail addresses").fill("tom")
        await page.get_by_label("Role here").select_option("teacher")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_text("One person was put into the class.")).to_be_visible()
        await look_at(page, "classes", csv("members.csv", "class,user,role", *(f"{CLASS},{who}," for who in STUDENTS)))
        await page.get_by_role("button", name="Import").click()
        await expect(page.get_by_text("Imported: 12 new")).to_be_visible()

        # Machines have appeared by themselves.
        await page.goto("/admin/vms?q=lab-")
        await expect(page.get_by_role("link", name=re.compile("^lab-"))).to_have_count(13)

        # Twelve of them for the twelve students; taken back, and done again.
        for again in (False, True):
            await the_class(page)
            await page.get_by_role("link", name="Give machines…").click()
            await page.get_by_label("Machines", exact=True).fill("lab-*")
            await page.get_by_label("Until").fill(in_days(90))
            await page.get_by_label("switch it on and off").check()
            await page.get_by_label("reset it").check()
            await page.get_by_role("button", name="Preview").click()
            await expect(page.get_by_role("checkbox", name=re.compile("^ ?lab-"))).to_have_count(12)
            await expect(page.get_by_role("row", name="lab-03").filter(has_text="carl")).to_be_visible()
            await expect(page.get_by_text("one machine is left over")).to_be_visible()
            await page.get_by_role("button", name="Give the ticked machines").click()
            await expect(page.get_by_role("button", name="Undo")).to_be_visible()
            if not again:
                await page.get_by_role("button", name="Undo").click()
                await expect(page.get_by_text("Taken back:")).to_be_visible()
                await page.goto("/admin/assignments")
                await expect(page.get_by_text("Nothing is assigned yet")).to_be_visible()

        # One machine for all of them now, and one for later.
        await share(page, "demo/413", "")
        await share(page, "demo/102", in_days(7))


async def share(page: Page, machine: str, begins: str) -> None:
    """Give a machine to the whole class."""
    await page.goto("/admin/assignments/new")
    await page.get_by_label("Class").select_option(label=CLASS)
    await page.get_by_role("combobox", name=re.compile("^Machine")).fill(machine)
    await page.get_by_label("From").fill(begins)
    await page.get_by_label("switch it on and off").check()
    await page.get_by_role("button", name="Assign", exact=True).click()
    await expect(page.get_by_role("heading", name="Assignments")).to_be_visible()


@pytest.mark.gen_test(timeout=90)
async def test_a_students_week(lab: Semester) -> None:
    async with people(lab) as there:
        # The teacher names the snapshot that resets go back to.
        tom = await there.enter("tom")
        await tom.get_by_role("link", name=CLASS, exact=True).click()
        await tom.get_by_role("button", name="all", exact=True).click()
        await tom.get_by_role("toolbar").get_by_role("button", name="Reset…").click()
        await expect(tom.get_by_role("heading", name="Reset 13 machines?")).to_be_visible()
        await tom.get_by_role("radio", name="lesson-1").check()
        await tom.get_by_role("button", name="Only name it").click()
        await expect(tom.get_by_text("resets to lesson-1")).to_have_count(13)

        # What starts when, what ends when.
        ada = await there.enter("ada")
        own, shared = (ada.get_by_role("listitem").filter(has_text=name) for name in ("lab-01", "lab-13"))
        await expect(ada.get_by_role("listitem").filter(has_text="web-02")).to_contain_text("Begins")
        await expect(own).to_contain_text("until")
        await expect(own).to_contain_text(CLASS)

        # A console: the picture comes, and what is typed arrives.
        await own.get_by_role("link", name="Open lab-01").click()
        await connected(ada)
        before = await picture(ada)
        await ada.locator("#screen canvas").click()
        await ada.keyboard.type("whoami")
        await until_changed(ada, before)
        await ada.get_by_role("link", name="Disconnect and go back").click()

        # Pulling the plug of the shared one and starting it again; the page follows without being loaded anew.
        await shared.get_by_label("More for lab-13").click()
        await shared.get_by_role("link", name="Pull the plug…").click()
        await ada.get_by_role("button", name="Pull the plug").click()
        await expect(shared.get_by_role("button", name="Start lab-13")).to_be_visible()
        await shared.get_by_role("button", name="Start lab-13").click()
        await ada.evaluate("window.same = true")
        await expect(shared.locator(".word")).to_have_text("running")
        await expect(shared.get_by_role("button", name="Start lab-13")).to_be_hidden()
        assert await ada.evaluate("window.same")

        # Back to the teacher's snapshot.
        await own.get_by_label("More for lab-01").click()
        await own.get_by_role("link", name="Reset to “lesson-1”…").click()
        await expect(ada.get_by_role("heading", name="Reset lab-01 to “lesson-1”?")).to_be_visible()
        await ada.get_by_role("button", name="Reset it").click()
        await expect(own.get_by_role("progressbar")).to_be_visible()
        await expect(own.get_by_role("progressbar")).to_be_hidden()
        await expect(own.locator(".word")).to_have_text("running")

        # Not somebody else's.
        answer = await ada.goto(f"/student/console/{lab.vm(402)}")
        assert answer is not None
        assert answer.status == 403
        await expect(ada.get_by_role("heading")).to_contain_text("This machine is not assigned to you")


@pytest.mark.gen_test(timeout=90)
async def test_a_student_without_a_mouse_on_a_phone(lab: Semester) -> None:
    async with people(lab) as there:
        page = await there.enter("ben", viewport=PHONE)
        shared = page.get_by_role("listitem").filter(has_text="lab-13")
        await expect(shared.locator(".word")).to_have_text("running")

        # lab-13 is opened; Ctrl+Alt+Shift leads out of the screen, and the tab key to the way back.
        await tab_to(page, "Open lab-13")
        await page.keyboard.press("Enter")
        await connected(page)
        await expect(page.locator("#screen canvas")).to_be_focused()
        before = await picture(page)
        await page.keyboard.type("ls")
        await until_changed(page, before)
        await page.keyboard.press("Control+Alt+Shift")
        await tab_to(page, "Disconnect and go back")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/student")

        # lab-02 is off: it is started.
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        own = page.get_by_role("listitem").filter(has_text="lab-02")
        await expect(own.get_by_role("button", name="Start lab-02")).to_be_visible()
        await tab_to(page, "Start lab-02")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status").filter(has_text="lab-02")).to_be_visible()
        await expect(own.locator(".word")).to_have_text("running")


async def tab_to(page: Page, label: str) -> None:
    """Press the tab key until what has that label has the focus."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.getAttribute('aria-label')") == label:
            return
    raise AssertionError(f"the tab key does not lead to {label!r}")


@pytest.mark.gen_test(timeout=90)
async def test_a_teachers_class(lab: Semester) -> None:
    async with people(lab) as there:
        tom, ada = await there.enter("tom"), await there.enter("ada")
        await tom.get_by_role("link", name=CLASS, exact=True).click()

        # All that are off are started at once.
        await tom.get_by_role("button", name="stopped", exact=True).click()
        await expect(tom.get_by_text("5 chosen:")).to_be_visible()
        await tom.get_by_role("toolbar").get_by_role("button", name="Start").click()
        batch = tom.get_by_role("region", name="What was asked for last")
        await expect(batch).to_contain_text("Start 5 machines")
        await expect(batch.get_by_role("progressbar")).to_be_visible()
        await expect(batch).to_contain_text("all done")
        await expect(tom.get_by_text("13 of 13 running")).to_be_visible()

        # Who is there; the teacher watches while the student goes on working.
        await ada.get_by_role("link", name="Open lab-01").click()
        await connected(ada)
        row = tom.get_by_role("row", name="lab-01")
        await expect(row).to_contain_text("Ada Lovelace")
        await expect(row.locator("[data-here]")).to_have_text("Ada Lovelace")
        await row.get_by_role("link", name="Watch lab-01").click()
        await connected(tom)
        await expect(tom.get_by_text("view only")).to_be_visible()
        seen = await picture(tom)
        before = await picture(ada)
        await ada.locator("#screen canvas").click()
        await ada.keyboard.type("ls")
        await until_changed(tom, seen)
        typed = await until_settled(ada, before)

        # What the watcher types does not arrive: one letter more and it taken back, and the picture is as it was.
        await tom.locator("#screen canvas").click()
        await tom.keyboard.type("rm -rf")
        await ada.keyboard.type("x")
        await until_changed(ada, typed)
        await ada.keyboard.press("Backspace")
        assert await until_settled(ada, typed, equal=True) == typed
        for page in (tom, ada):
            await expect(page.locator("body")).to_have_attribute("data-phase", "connected")

        # Then they help: both are at the machine, both may type.
        await tom.get_by_role("link", name="Disconnect and go back").click()
        await tom.get_by_role("link", name="Open lab-01").click()
        await connected(tom)
        before = await picture(ada)
        await tom.locator("#screen canvas").click()
        await tom.keyboard.type("help")
        await until_changed(ada, before)


async def until_settled(page: Page, before: str, *, equal: bool = False) -> str:
    """The picture once it stays the same; it differs from ``before`` by then, or equals it."""
    for _ in range(200):
        first = await picture(page)
        await page.wait_for_timeout(50)
        if first == await picture(page) and (first == before) is equal:
            return first
    raise AssertionError("the picture does not come to rest")


@pytest.mark.gen_test(timeout=90)
async def test_an_exam_is_ended_early(lab: Semester) -> None:
    async with people(lab) as there:
        tom, ada = await there.enter("tom"), await there.enter("ada")
        await ada.get_by_role("link", name="Open lab-01").click()
        await connected(ada)
        await tom.get_by_role("link", name=CLASS, exact=True).click()
        await tom.get_by_role("link", name="End the lesson…").click()
        await expect(tom.get_by_text("13 assignments end at once.")).to_be_visible()
        await tom.get_by_role("button", name="End the lesson").click()
        await ended(ada, "This machine is no longer assigned to you")
        await expect(tom.get_by_text("The lesson is over: 13 assignments ended.")).to_be_visible()
        await ada.get_by_role("link", name="Back to my machines").click()
        await expect(ada.get_by_role("heading", name="web-02")).to_be_visible()  # that of next week
        await expect(ada.get_by_role("heading", name="lab-01")).to_have_count(0)

        await tom.get_by_role("button", name="Let it go on").click()
        await expect(tom.get_by_text("The lesson goes on.")).to_be_visible()
        await ada.reload()
        await ada.get_by_role("link", name="Open lab-01").click()
        await connected(ada)


@pytest.mark.gen_test(timeout=90)
async def test_the_admins_day(lab: Semester) -> None:
    async with people(lab) as there:
        ann, bea = await there.enter("ann"), await there.enter("bea")

        # Both edit the same assignment: the second is told, and loses nothing that they typed.
        for page in (ann, bea):
            await page.goto("/admin/assignments?q=lab-03")
            await page.get_by_role("link", name="Edit the assignment of lab-03").click()
        await ann.get_by_label("Until").fill(in_days(30))
        await ann.get_by_role("button", name="Save").click()
        await expect(ann.get_by_role("heading", name="Assignments")).to_be_visible()
        await bea.get_by_label("Until").fill(in_days(60))
        await bea.get_by_role("button", name="Save").click()
        await expect(bea.get_by_role("alert")).to_be_visible()
        await expect(bea.get_by_label("Until")).to_have_value(in_days(60))
        await expect(bea.get_by_text("There now:")).to_be_visible()
        await bea.get_by_role("button", name="Save").click()
        await expect(bea.get_by_role("heading", name="Assignments")).to_be_visible()

        # An imported student gets a password, works, and is disabled.
        await user(ann, "carl")
        await ann.get_by_role("link", name="New password…").click()
        await ann.get_by_label("New password").fill(PASSWORD)
        await ann.get_by_role("button", name="Set the password").click()
        carl, ada = await there.enter("carl"), await there.enter("ada")
        for page, machine in ((carl, "lab-03"), (ada, "lab-01")):
            await page.get_by_role("link", name=f"Open {machine}").click()
            await connected(page)
        await user(ann, "carl")
        await ann.get_by_role("link", name="Disable…").click()
        await ann.get_by_role("button", name="Disable").click()
        await ended(carl, "Your account was deactivated")

        # The other console is ended from the page of those that are open.
        await bea.goto("/admin/consoles")
        await expect(bea.get_by_role("row").filter(has_text="carl")).to_have_count(0)
        await bea.get_by_role("button", name=re.compile("^Disconnect ada from")).click()
        await ended(ada, "An admin closed this console")

        # The audit knows all of it.
        for action, told in (
            ("user.", "user carl"), ("assignment.", "lab-03"), ("console.", "lab-01"), ("class.", CLASS),
        ):  # fmt: skip
            await ann.goto(f"/admin/audit?action={action}")
            await expect(ann.get_by_role("row").filter(has_text=told).first).to_be_visible()


async def user(page: Page, name: str) -> None:
    """Go to somebody's page as an admin does."""
    await page.goto(f"/admin/users?q={name}")
    await page.get_by_role("link", name=f"Edit {name}").click()


@pytest.mark.gen_test(timeout=90)
async def test_the_end_of_term(lab: Semester) -> None:
    async with people(lab) as there:
        ann, tom, ada = await there.enter("ann"), await there.enter("tom"), await there.enter("ada")
        await ada.get_by_role("link", name="Open lab-01").click()
        await connected(ada)
        await the_class(ann)
        await ann.get_by_role("link", name="Archive…").click()
        await expect(ann.get_by_text("13 assignments that are in force end.")).to_be_visible()
        await expect(ann.get_by_text("One console is open on its machines")).to_be_visible()
        await ann.get_by_role("button", name="Archive").click()
        await ended(ada, "This machine is no longer assigned to you")
        await ada.get_by_role("link", name="Back to my machines").click()
        await expect(ada.get_by_text("No machine is assigned to you yet")).to_be_visible()
        await tom.reload()
        await expect(tom.get_by_text("You teach no class yet")).to_be_visible()

        await ann.get_by_role("link", name="Bring back…").click()
        await ann.get_by_role("button", name="Bring back").click()
        await expect(ann.get_by_text(f"The class {CLASS} is back.")).to_be_visible()
        await ada.reload()
        await ada.get_by_role("link", name="Open lab-01").click()
        await connected(ada)
