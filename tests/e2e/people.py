"""Several people at once, each with a browser of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests import patience, services
from tests.e2e.lab import PASSWORD, Lab

PHONE = {"width": 360, "height": 740}


class People:
    """Lets people in by the sign-in form; what their pages complain about is collected."""

    def __init__(self, browser: Browser, lab: Lab) -> None:
        """``lab``: where they sign in."""
        self._browser = browser
        self.lab = lab
        self.complaints: list[str] = []

    async def enter(self, name: str, *, password: str = PASSWORD, **options: Any) -> Page:
        """That person's first page; ``options``: of the browser's context."""
        context = await self._browser.new_context(
            base_url=self.lab.url, locale="en-GB", timezone_id="Europe/Berlin", **options
        )
        page = await context.new_page()
        page.set_default_timeout(patience.BROWSER)
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(f"{name}: {error}"))
        await page.goto("/auth/login")
        await page.get_by_label("User name").fill(name)
        await page.get_by_label("Password", exact=True).fill(password)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.wait_for_url(lambda url: "/auth/login" not in url)
        return page

    def _listen(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            self.complaints.append(message.text)


@asynccontextmanager
async def people(lab: Lab) -> AsyncIterator[People]:
    """Enter for a Chromium that several people share; no page may break its policy or its script."""
    chromium = services.require("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        there = People(browser, lab)
        yield there
        await browser.close()
    assert there.complaints == []


async def connected(page: Page) -> None:
    """The page is a console with a picture."""
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
    await expect(page.locator("#screen canvas")).to_be_visible()


async def ended(page: Page, reason: str) -> None:
    """The page is a console that the portal has ended, and says why; a second, and what a busy machine adds."""
    await expect(page.get_by_role("alert")).to_contain_text(reason, timeout=patience.AT_ONCE)
    await expect(page.locator("body")).to_have_attribute("data-phase", "closed")
