"""A container's page in Chromium: what is drawn, what is typed, and what the bar does."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect
from tornado.web import Application

from cyberlab.db.models import Vm, VmKind
from cyberlab.handlers.routes import ID, make_application
from tests.browser.conftest import OpenPage
from tests.browser.terminal import ScriptedTerminal, ScriptedTerminals
from tests.web import World

ROWS = "#terminal .xterm-rows"


@pytest.fixture
def console() -> ScriptedTerminals:
    """What the websocket does when the page opens it."""
    return ScriptedTerminals()


@pytest.fixture
def app(world: World, console: ScriptedTerminals) -> Application:
    """The portal, with a scripted terminal behind its websocket, and a container."""
    with world.database.transaction() as s:
        vm = s.get(Vm, world.vms["kali"])
        assert vm is not None
        vm.kind = VmKind.LXC
    application = make_application(world.portal)
    application.add_handlers(".*", [(f"/vnc-proxy/ws/{ID}", ScriptedTerminal, {"console": console})])
    return application


@pytest.fixture
def path(world: World) -> str:
    return f"/student/console/{world.vms['kali']}"


async def _opened(page: Page, path: str) -> None:
    await page.goto(path)
    await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
    await expect(page.locator("#terminal textarea")).to_be_focused()


@pytest.mark.gen_test
async def test_what_is_typed_and_what_is_drawn(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    async with open_page("student") as page:
        await _opened(page, path)
        await expect(page).to_have_title("kali · CyberLab")
        await expect(page.locator(ROWS)).to_contain_text("Welcome")
        await page.keyboard.type("echo grüße\n")
        await console.has("echo grüße\r".encode())
        await expect(page.locator(ROWS)).to_contain_text("grüßeroot@kali")  # rows, joined
        console.typed = b""
        await page.keyboard.type("colours\n")
        await expect(page.locator(ROWS)).to_contain_text("magenta")
        await expect(page.locator(f"{ROWS} span[style*=background-color]").first).to_be_visible()
        assert console.sizes, "the terminal has been told its size"


@pytest.mark.gen_test
async def test_keys_that_a_phone_does_not_have(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    async with open_page("student", viewport={"width": 360, "height": 640}) as page:
        await _opened(page, path)
        await page.get_by_text("Keys", exact=True).click()
        for name in ("Esc", "Tab", "Ctrl+C", "Up"):
            await page.get_by_role("button", name=name, exact=True).click()
        await console.has(b"\x1b\t\x03\x1b[A")
        console.sockets[-1].send(b"\x1b[?1h")  # as an editor asks for them
        await page.get_by_role("button", name="Down", exact=True).click()
        await console.has(b"\x1b\t\x03\x1b[A\x1bOB")
        before, count = console.sizes[-1].columns, len(console.sizes)
        await page.get_by_role("button", name="Larger letters").click()
        assert (await console.sized(count + 1)).columns < before
        for button in await page.locator(".toolbar > :is(button, a):visible, .menu button:visible").all():
            place = await button.bounding_box()
            assert place is not None
            assert 0 <= place["x"] <= place["x"] + place["width"] <= 360


@pytest.mark.gen_test
async def test_the_window_gives_the_size(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    async with open_page("student", viewport={"width": 1000, "height": 700}) as page:
        await _opened(page, path)
        await console.sized(1)
        count, wide = len(console.sizes), console.sizes[-1]
        await page.set_viewport_size({"width": 500, "height": 400})
        narrow = await console.sized(count + 1)
        assert narrow.columns < wide.columns
        assert narrow.rows < wide.rows


@pytest.mark.gen_test
async def test_a_text_is_pasted_in_pieces(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    async with open_page("student") as page:
        await _opened(page, path)
        console.quiet = True
        long = "ü" * 5000
        await page.get_by_role("button", name="Paste").click()
        await page.get_by_label("Text", exact=True).fill(f"one\ntwo\n{long}")
        console.messages.clear()
        await page.get_by_role("button", name="Type it").click()
        await console.has(f"one\rtwo\r{long}".encode())
        inputs = [message for message in console.messages if message.startswith(b"0:")]
        assert len(inputs) == 3
        assert max(map(len, inputs)) <= 4096 + len("0:4096:")
        await expect(page.locator("#terminal textarea")).to_be_focused()


@pytest.mark.gen_test
async def test_too_much_text_is_not_lost(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    async with open_page("student") as page:
        await _opened(page, path)
        await page.get_by_role("button", name="Paste").click()
        await page.get_by_label("Text", exact=True).fill("x" * 300_000)
        await page.get_by_role("button", name="Type it").click()
        await expect(page.locator("#text-status")).to_contain_text("too much text")
        await expect(page.get_by_label("Text", exact=True)).to_have_value("x" * 300_000)
        assert console.typed == b""


@pytest.mark.gen_test
async def test_text_is_copied(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    async with open_page("student", permissions=["clipboard-read", "clipboard-write"]) as page:
        await _opened(page, path)
        await page.get_by_role("button", name="Copy").click()
        await expect(page.locator("#notice")).to_have_text("Select text in the terminal first.")
        await page.get_by_text("Welcome.").dblclick(position={"x": 15, "y": 8}, force=True)
        await page.get_by_role("button", name="Copy").click()
        await expect(page.locator("#notice")).to_have_text("Copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == "Welcome."
        console.typed = b""
        await page.keyboard.press("Control+Shift+KeyC")
        await page.keyboard.press("Control+Shift+KeyV")
        await console.has(b"Welcome.")


@pytest.mark.gen_test
async def test_a_lost_connection_comes_back(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    async with open_page("student") as page:
        await _opened(page, path)
        await page.keyboard.type("echo kept\n")
        await expect(page.locator(ROWS)).to_contain_text("keptroot@kali")
        console.silent = True
        console.sockets[-1].drop()
        await expect(page.get_by_role("heading", name="Connection lost")).to_be_visible()
        await expect(page.get_by_role("button", name="Paste")).to_be_disabled()
        await expect(page.locator(ROWS)).to_contain_text("kept")
        console.silent = False
        await page.get_by_role("button", name="Now").click()
        await expect(page.locator("body")).to_have_attribute("data-phase", "connected")
        count = len(console.sizes)
        console.typed = b""
        await page.keyboard.type("ls")
        await console.has(b"ls")
        assert console.sizes[count - 1] == console.sizes[-1], "the new terminal was told the size"


@pytest.mark.gen_test
async def test_a_refusal_is_a_card(open_page: OpenPage, console: ScriptedTerminals, path: str) -> None:
    console.end = {"code": "vm-stopped", "title": "This machine is switched off", "advice": "Start it.", "retry": False}
    async with open_page("student") as page:
        await page.goto(path)
        await expect(page.get_by_role("alert")).to_contain_text("This machine is switched off")
        await expect(page.get_by_role("button", name="Try again")).to_be_focused()
        console.end = None
        await page.keyboard.press("Enter")
        await expect(page.locator("body")).to_have_attribute("data-phase", "connected")


@pytest.mark.gen_test
async def test_the_way_out_of_the_terminal_by_keyboard(
    open_page: OpenPage, console: ScriptedTerminals, path: str
) -> None:
    async with open_page("student") as page:
        await _opened(page, path)
        await page.keyboard.press("Tab")
        await console.has(b"\t")
        await expect(page.locator("#terminal textarea")).to_be_focused()
        for key in ("Control", "Alt", "Shift"):
            await page.keyboard.down(key)
        for key in ("Shift", "Alt", "Control"):
            await page.keyboard.up(key)
        await expect(page.locator(".toolbar :focus")).to_be_visible()
        assert console.typed == b"\t"
