"""A real Chromium in front of a real portal; any violation of the Content-Security-Policy fails the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
from playwright.async_api import Page, async_playwright, expect
from tornado.httpserver import HTTPServer
from tornado.web import Application

from cyberlab.handlers.routes import ID, make_application
from cyberlab.settings import ROOT
from tests import patience, services
from tests.browser.console import ScriptedConsole, ScriptedSocket
from tests.databases import SqliteTemplate
from tests.web import PASSWORD, World

# Reports what the page itself cannot: the event fires for every violation, also those that log nothing.
expect.set_options(timeout=patience.BROWSER)

WATCH = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""
EXPECTED = ("Failed to load resource", "WebSocket connection to")  # what Chromium says about 401s and closed sockets


class OpenPage(Protocol):
    """Opens a browser's page, signed in or not."""

    def __call__(self, who: str | None = None, **options: object) -> AbstractAsyncContextManager[Page]: ...


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    """A migrated SQLite file to copy."""
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def world(sqlite: SqliteTemplate, tmp_path: Path) -> Iterator[World]:
    """A portal with people and machines."""
    made = World(sqlite.copy(tmp_path))
    yield made
    made.close()


@pytest.fixture
def console() -> ScriptedConsole:
    """What the websocket does when the page opens it."""
    return ScriptedConsole()


@pytest.fixture
def app(world: World, console: ScriptedConsole) -> Application:
    """What pytest-tornado serves: the portal, with a scripted console behind its websocket."""
    application = make_application(world.portal)
    application.add_handlers(".*", [(f"/vnc-proxy/ws/{ID}", ScriptedSocket, {"console": console})])
    return application


@pytest.fixture
def open_page(http_server: HTTPServer, base_url: str) -> OpenPage:
    """Open pages in Chromium; skipped in one line where there is none."""
    executable = services.require("chromium")
    if not (ROOT / "static" / "vendor" / "novnc").is_dir():
        pytest.fail("static/vendor is missing: make run or make test fetches it", pytrace=False)

    @asynccontextmanager
    async def opened(who: str | None = None, **options: object) -> AsyncIterator[Page]:
        said: list[str] = []
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            try:
                context = await browser.new_context(base_url=base_url, **options)  # type: ignore[arg-type]
                await context.add_init_script(WATCH)
                page = await context.new_page()
                page.set_default_timeout(patience.BROWSER)
                page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
                page.on("pageerror", lambda error: said.append(str(error)))
                if who is not None:
                    await sign_in(page, who)
                yield page
            finally:
                await browser.close()
        assert [text for text in said if not text.startswith(EXPECTED)] == []

    return opened


async def sign_in(page: Page, who: str) -> None:
    """By the form, as people do."""
    await page.goto("/auth/login")
    await page.locator("[name=username]").fill(who)
    await page.locator("[name=password]").fill(PASSWORD)
    await page.locator("form[action='/auth/login'] button").click()
    await page.wait_for_url(lambda url: "/auth/" not in url)
