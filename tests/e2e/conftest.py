"""One lab and one browser for all end-to-end tests of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect

from tests import patience, services
from tests.e2e.lab import PASSWORD, Lab

expect.set_options(timeout=patience.BROWSER)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with ada (VMs 100, 101, 102, container 300), ben, tom (teacher) and ann (admin)."""
    services.require("sshd")
    services.require("qemu")
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


OpenPage = Callable[[], AbstractAsyncContextManager[Page]]
Visit = Callable[[Lab, str], AbstractAsyncContextManager[Page]]


@pytest.fixture
def open_page() -> OpenPage:
    """Enter for a Chromium page; no CSP violation may occur."""
    chromium = services.require("chromium")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Page]:
        complaints: list[str] = []

        def listen(message: ConsoleMessage) -> None:
            if "Content Security Policy" in message.text:
                complaints.append(message.text)

        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 1024, "height": 768})
            page.set_default_timeout(patience.BROWSER)
            page.on("console", listen)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            yield page
            await browser.close()
        assert complaints == []

    return opened


@pytest.fixture
def visit(open_page: OpenPage) -> Visit:
    """Enter with a lab and a name: a page that this person has signed in on."""

    @asynccontextmanager
    async def visiting(lab: Lab, name: str) -> AsyncIterator[Page]:
        async with open_page() as page:
            await fill_in(page, lab, name, PASSWORD)
            await page.wait_for_url(lambda url: "/auth/login" not in url)
            yield page

    return visiting


async def fill_in(page: Page, lab: Lab, name: str, password: str) -> None:
    """Send the sign-in form."""
    await page.goto(f"{lab.url}/auth/login")
    await page.fill("[name=username]", name)
    await page.fill("[name=password]", password)
    await page.click("button[type=submit]")


async def open_console(page: Page, name: str) -> None:
    """Click a machine's "Open" on the student's page and wait for its picture."""
    await page.get_by_role("link", name=f"Open {name}").click()
    await expect(page.locator("#screen canvas")).to_be_visible()
    await expect(page.locator("body")).to_contain_text("connected")
