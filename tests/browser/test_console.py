from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from cyberlab.db import assignments, logins
from tests.browser.conftest import OpenPage
from tests.browser.console import RED, ScriptedConsole
from tests.web import TEST, World

STOPPED = {
    "code": "vm-stopped",
    "title": "This machine is switched off",
    "advice": "Start it.",
    "request_id": "0123456789abcdef",
    "retry": False,
}
SHIFT, ALTGR = 0x2A, 0xB8


async def _pixel(page: Page) -> list[int]:
    script = "canvas => Array.from(canvas.getContext('2d').getImageData(5, 5, 1, 1).data)"
    colour: list[int] = await page.locator("#screen canvas").evaluate(script)
    return colour


async def _connected(page: Page) -> None:
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected")


@pytest.fixture
def path(world: World) -> str:
    return f"/student/console/{world.vms['kali']}"


@pytest.mark.gen_test
async def test_picture_and_keys(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    async with open_page("student") as page:
        await page.get_by_role("link", name="Open kali").click()
        await _connected(page)
        await expect(page).to_have_title("kali · CyberLab")
        async with page.expect_console_message(lambda message: message.text == "painted"):
            await page.evaluate("requestAnimationFrame(() => requestAnimationFrame(() => console.log('painted')))")
        assert await _pixel(page) == [*RED[:3], 255]
        assert console.shared == [1]
        await page.keyboard.press("a")
        assert await console.pressed(2) == [(1, 0x61, 0x1E), (0, 0x61, 0x1E)]
        console.keys.clear()
        await page.get_by_role("button", name="Ctrl+Alt+Del").first.click()
        assert [(down, code) for down, _, code in await console.pressed(6)] == [
            (1, 0x1D), (1, 0x38), (1, 0xD3), (0, 0xD3), (0, 0x38), (0, 0x1D),
        ]  # fmt: skip


@pytest.mark.gen_test
async def test_text_is_typed_in_the_machines_layout(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    async with open_page("student") as page:
        await page.goto(path)
        await _connected(page)
        await page.get_by_role("button", name="Type", exact=True).click()
        await page.get_by_label("Text", exact=True).fill("Z@\n")
        await page.get_by_label("Keyboard of the machine").select_option("German")
        await page.get_by_role("button", name="Type it").click()
        codes = [(down, code) for down, _, code in await console.pressed(10)]
        y, q, enter = 0x15, 0x10, 0x1C  # a German Z is where a US keyboard has Y; @ is AltGr+Q
        assert codes == [
            (1, SHIFT), (1, y), (0, y), (0, SHIFT), (1, ALTGR), (1, q), (0, q), (0, ALTGR), (1, enter), (0, enter),
        ]  # fmt: skip
        await expect(page.get_by_role("status").filter(has_text="Typed 3 of 3")).to_be_visible()
        await page.get_by_role("button", name="Put on the machine’s clipboard").click()
        console.sockets[-1].copied("from the machine")
        await expect(page.get_by_label("Copied in the machine")).to_have_value("from the machine")
        assert console.clipboard == ["Z@\n"]


@pytest.mark.gen_test
async def test_every_layout_has_a_key_for_every_ascii_character(open_page: OpenPage, path: str) -> None:
    async with open_page("student") as page:
        await page.goto(path)
        await _connected(page)
        missing = await page.evaluate(
            """async (version) => {
              const { LAYOUTS, strokes } = await import(`/static/${version}/console/typing.js`);
              const ascii = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index));
              return Object.entries(LAYOUTS).map(([id, layout]) => {
                const table = strokes(layout);
                const odd = [...table.values()].filter((stroke) => !stroke.code).length;
                return id + ascii.filter((character) => !table.has(character)).join("") + (odd || "");
              });
            }""",
            (await page.locator("script[type=module]").get_attribute("src") or "").split("/")[2],
        )
        assert missing == ["us", "gb", "de", "fr"]


@pytest.mark.gen_test
async def test_a_refusal_is_a_card_with_its_id(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    console.end = STOPPED
    async with open_page("student") as page:
        await page.goto(path)
        card = page.get_by_role("alert")
        await expect(card).to_contain_text("This machine is switched off")
        await expect(card).to_contain_text("Start it.")
        await expect(card).to_contain_text("0123456789abcdef")
        await expect(page.get_by_role("button", name="Try again")).to_be_focused()
        await expect(page.get_by_role("button", name="Ctrl+Alt+Del").first).to_be_disabled()
        assert console.opened == 1
        console.end = None
        await page.keyboard.press("Enter")
        await _connected(page)
        await expect(card).to_be_hidden()


@pytest.mark.gen_test
async def test_a_lost_connection_comes_back(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    async with open_page("student") as page:
        await page.goto(path)
        await _connected(page)
        console.silent = True
        console.sockets[-1].drop()
        await expect(page.get_by_role("heading", name="Connection lost")).to_be_visible()
        await expect(page.locator("#last")).to_be_visible()
        await expect(page).to_have_title("(connection lost) kali · CyberLab")
        await page.get_by_role("button", name="Now").click()
        await expect(page.locator("#steps .now")).to_have_text("asking node pve1 for a console")
        await expect(page.locator("#steps .done")).to_have_text("connecting to the portal")
        console.silent = False
        console.sockets[-1].drop()
        await _connected(page)
        await expect(page.locator("#last")).to_be_hidden()
        assert console.opened == 3


@pytest.mark.gen_test
async def test_leaving_the_page_is_no_lost_connection(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    """Firefox closes the websocket when a link is followed; the page must neither say so nor open it again."""
    async with open_page("student") as page:
        await page.clock.install(time=1_900_000_000)
        await page.goto(path)
        await _connected(page)
        await page.clock.pause_at(1_900_003_600)
        await page.evaluate("window.dispatchEvent(new Event('beforeunload'))")
        console.sockets[-1].drop()
        await expect(page.locator("#last")).to_be_visible()  # the page knows
        await page.clock.run_for(4_000)
        await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
        await page.clock.run_for(1_500)  # the link has led to a file, say
        await expect(page.locator("body")).to_have_attribute("data-phase", "lost")
        assert console.opened == 1


@pytest.mark.gen_test
async def test_a_browser_with_less(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    """Without https there is no clipboard, and no iPhone shows a page in full screen."""
    console.end = STOPPED
    async with open_page("student") as page:
        await page.add_init_script(
            "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
            "Object.defineProperty(document, 'fullscreenEnabled', { value: false });"
        )
        await page.goto(path)
        await page.get_by_role("button", name="Copy").click()
        await expect(page.get_by_role("button", name="Copy")).to_have_text("Copy")
        assert await page.evaluate("getSelection().toString()") == STOPPED["request_id"]
        await expect(page.locator("#fullscreen")).to_be_hidden()


@pytest.mark.gen_test
async def test_an_end_that_passes_is_waited_for(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    async with open_page("student") as page:
        await page.goto(path)
        await _connected(page)
        console.sockets[-1].finish_with(
            {"code": "shutting-down", "title": "The portal is restarting", "advice": "Wait.", "retry": True}
        )
        await expect(page.get_by_role("heading", name="The portal is restarting")).to_be_visible()
        await _connected(page)


@pytest.mark.gen_test
async def test_an_end_leads_to_the_portals_own_help(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    console.end = STOPPED
    async with open_page("teacher") as page:
        await page.goto(path.replace("/student/", "/teacher/"))
        async with page.expect_popup() as popup:
            await page.get_by_role("link", name="More about this").click()
        help_page = await popup.value
        await expect(help_page.get_by_role("heading", name="This machine is switched off")).to_be_visible()
        await expect(help_page.get_by_text("The VM is stopped.")).to_be_visible()
        await expect(help_page.get_by_text("Start it in Proxmox.")).to_be_visible()


@pytest.mark.gen_test
async def test_a_refused_upgrade_names_its_cause(
    open_page: OpenPage, console: ScriptedConsole, world: World, path: str
) -> None:
    async with open_page("student") as page:
        await page.goto(path)
        await _connected(page)
        with world.database.transaction() as s:
            assignments.delete(s, TEST, world.assignment)
        console.sockets[-1].drop()
        await page.get_by_role("button", name="Now").click()
        await expect(page.get_by_role("alert")).to_contain_text("This machine is not assigned to you")
        await expect(page.get_by_role("link", name="More about this")).to_be_hidden()
        await expect(page.get_by_role("link", name="Sign in")).to_be_hidden()


@pytest.mark.gen_test
async def test_signed_out_elsewhere_leads_to_the_sign_in(
    open_page: OpenPage, console: ScriptedConsole, world: World, path: str
) -> None:
    async with open_page("student") as page:
        await page.goto(path)
        await _connected(page)
        with world.database.transaction() as s:
            logins.revoke_all(s, world.users["student"])
        console.sockets[-1].drop()
        await page.get_by_role("button", name="Now").click()
        await page.get_by_role("link", name="Sign in").click()
        await expect(page).to_have_title("Sign in · CyberLab")
        await page.get_by_label("User name").fill("student")
        await page.get_by_label("Password").fill("correct horse")
        await page.get_by_role("button", name="Sign in").click()
        await _connected(page)


@pytest.mark.gen_test
async def test_the_way_out_of_the_screen_by_keyboard(open_page: OpenPage, console: ScriptedConsole, path: str) -> None:
    async with open_page("student") as page:
        await page.goto(path)
        await _connected(page)
        await page.keyboard.press("Tab")
        await console.pressed(2)
        await expect(page.locator("#screen canvas")).to_be_focused()
        await page.keyboard.down("Control")
        await page.keyboard.down("Alt")
        await page.keyboard.down("Shift")
        await expect(page.get_by_role("button", name="Ctrl+Alt+Del").first).to_be_focused()
        for key in ("Shift", "Alt", "Control"):
            await page.keyboard.up(key)
        down = {code for state, _, code in console.keys if state}
        up = {code for state, _, code in console.keys if not state}
        assert down == up, "no key stays pressed in the machine"
