"""Every page of the site, looked at by axe-core, in light and in dark, and at a phone's width."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Page
from tornado.routing import URLSpec

from cyberlab.handlers.common import CommonHandler
from cyberlab.handlers.routes import routes
from cyberlab.settings import ROOT
from tests.browser.conftest import OpenPage
from tests.handlers.test_access import _filled as filled
from tests.web import World

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 360, "height": 740}
SIDES = {"admin": ("/admin", "/account", "/help"), "teacher": ("/teacher",), "student": ("/student", "/help")}


def pages(world: World, who: str) -> Iterator[str]:
    """The addresses on that person's side which a browser may be pointed at."""
    for spec in routes(world.portal):
        assert isinstance(spec, URLSpec)
        handler, pattern = spec.handler_class, spec.regex.pattern.rstrip("$")
        if not pattern.startswith(SIDES.get(who, ("/auth/login",))):
            continue
        if issubclass(handler, CommonHandler) and not handler.answers_json and hasattr(handler, "get"):
            yield filled(pattern, world)


async def complaints(page: Page, *rules: str) -> list[str]:
    """What axe finds: the rule and where; ``rules``: these alone."""
    options = {"runOnly": list(rules)} if rules else {}
    found = await page.evaluate("options => axe.run(document, options).then(found => found.violations)", options)
    return [f"{item['id']}: {', '.join(' '.join(node['target']) for node in item['nodes'][:3])}" for item in found]


@pytest.mark.parametrize("who", ["admin", "teacher", "student", None])
@pytest.mark.gen_test(timeout=240)
async def test_no_page_has_a_barrier(open_page: OpenPage, world: World, who: str | None) -> None:
    script, seen, wrong = AXE.read_text(), 0, []
    # The page's own policy would keep axe out; no page's script depends on that.
    async with open_page(who, viewport=PHONE, bypass_csp=True, reduced_motion="reduce") as page:
        for path in sorted(set(pages(world, who or ""))):
            response = await page.request.get(path)
            if response.status != 200 or "text/html" not in response.headers.get("content-type", ""):
                continue  # a file to be saved, say
            if not (await response.text()).startswith("<!doctype"):
                continue  # a part of a page, which its script fetches
            await page.goto(path)
            await page.evaluate(script)
            wrong += [f"{path}: {text}" for text in await complaints(page)]
            wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            wrong += [f"{path}: {wide} pixels wider than a phone"] * bool(wide)
            await page.emulate_media(color_scheme="dark")
            wrong += [f"{path}, dark: {text}" for text in await complaints(page, "color-contrast")]
            await page.emulate_media(color_scheme="light")
            seen += 1
    assert seen >= 1
    assert not wrong, "\n".join(wrong)
