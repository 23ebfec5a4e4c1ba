"""`make screenshots`: pictures of every page, of a lab in the middle of a term, for docs/pages.md and for a look.

    PYTHONPATH=. .venv/bin/python scripts/screenshots.py [--into FOLDER] [--all] [--only NAME]

Without --all: each page in light at a desktop's width, and a few in dark and at a phone's. With it: every page in all
three, and in German; `--into` names another folder than docs/images/pages.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from playwright.async_api import Browser, FilePayload, Page, async_playwright
from tornado.httpserver import HTTPServer

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import assignments, groups, holdings, logins, users, vms
from cyberlab.db.models import MembershipRole, Role, Vm, utcnow
from cyberlab.handlers.routes import ID, make_application
from cyberlab.inventory_watch import ClusterWatch
from cyberlab.proxmox.answers import Snapshot
from cyberlab.simulator import screen
from cyberlab.simulator.bootsector import attribute
from tests import services
from tests.browser.console import ScriptedConsole, ScriptedSocket
from tests.databases import SqliteTemplate
from tests.web import TEST, World, resource

ROOT = Path(__file__).resolve().parent.parent
PEOPLE = (
    "Ada Lovelace", "Émile Baudot", "Grace Hopper", "Alan Turing", "Łukasz Nowak", "Nguyễn Thị Minh", "Zoë Müller",
    "José García", "Misaki Tanaka", "Fatima al-Zahra", "Björn Ångström", "Priya Raghavan",
)  # fmt: skip
SIZES = {"desktop": (1200, 800), "phone": (360, 740)}


@dataclass(frozen=True, slots=True)
class Shot:
    """One page; ``also``: in which other forms it goes into the documentation; ``steps``: what is done on it first."""

    name: str
    who: str
    path: str
    also: tuple[str, ...] = ()
    steps: Callable[[Page], Awaitable[None]] | None = None


async def _upload(page: Page) -> None:
    rows = [f"s{2000 + number};Student {number};s{2000 + number}@uni.example;student" for number in range(40)]
    rows[7] = rows[7].replace("student", "studnet")
    rows[21] = rows[21].replace("@", " at ")
    content = "\n".join(["user;name;email;role", *rows]).encode()
    await page.locator("[name=file]").set_input_files(
        FilePayload(name="first-years.csv", mimeType="text/csv", buffer=content)
    )
    await page.locator("form.form button").click()


async def _end_all(page: Page) -> None:
    await page.locator("[data-select-every]").check()
    await page.locator("button[value=today]").click()


async def _wall(page: Page) -> None:
    """As tall as it is: screens out of sight are not shown."""
    height = await page.evaluate("document.documentElement.scrollHeight")
    assert page.viewport_size is not None
    await page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
    await page.locator("[data-state=running][data-phase=live]").nth(8).wait_for()
    await page.wait_for_timeout(300)  # noVNC paints when it is about time


async def _start_stopped(page: Page) -> None:
    await page.locator("[data-state=running] .word").first.wait_for()
    await page.locator("[data-choose-state=stopped]").click()
    start = page.locator("[role=toolbar] [value=start]")
    if await start.is_enabled():  # in the next form of the same picture they are being started already
        await start.click()


def shots(world: World) -> list[Shot]:
    """Every page, with the ids of this world."""
    group, vm, user = world.group, world.vms["kali-01"], world.users["ada"]
    everywhere = ("dark", "phone")
    pairing = f"class={world.group + 1}&machines=forensics-*&by=order&can_power=1&can_reset=1&free=1&new=1"
    return [
        Shot("sign-in", "", "/auth/login"),
        Shot("student", "ada", "/student", everywhere),
        Shot("account", "ada", "/account"),
        Shot("preferences", "ada", "/account/preferences"),
        Shot("tokens", "admin", "/account/tokens"),
        Shot("teacher", "teacher", "/teacher"),
        Shot("class", "teacher", f"/teacher/classes/{group}", everywhere),
        Shot("wall", "teacher", f"/teacher/classes/{group}/wall", everywhere, steps=_wall),
        Shot("overview", "admin", "/admin"),
        Shot("users", "admin", "/admin/users", everywhere),
        Shot("user", "admin", f"/admin/users/{user}"),
        Shot("classes", "admin", "/admin/classes"),
        Shot("class-admin", "admin", f"/admin/classes/{group}"),
        Shot("machines", "admin", "/admin/vms"),
        Shot("machine", "admin", f"/admin/vms/{vm}"),
        Shot("assignments", "admin", "/admin/assignments"),
        Shot("assignment-new", "admin", "/admin/assignments/new"),
        Shot("pairing", "admin", f"/admin/assignments/pair?{pairing}"),
        Shot("assignments-ending", "admin", "/admin/assignments", steps=_end_all),
        Shot("import", "admin", "/admin/import"),
        Shot("import-report", "admin", "/admin/import", steps=_upload),
        Shot("changes", "admin", "/admin/changes"),
        Shot("consoles", "admin", "/admin/consoles"),
        Shot("consoles-past", "admin", "/admin/consoles/past"),
        Shot("logins", "admin", "/admin/logins"),
        Shot("audit", "admin", "/admin/audit"),
        Shot("health", "admin", "/admin/health"),
        Shot("help", "ada", "/help"),
        Shot("error", "ada", "/nothing-here"),
        Shot("class-starting", "teacher", f"/teacher/classes/{group}", steps=_start_stopped),
    ]


def fill(world: World) -> list[ConsoleRequest]:
    """A class with its students and machines; returns who looks at a screen just now."""
    now = utcnow()
    term = {"starts_at": now - timedelta(days=50), "ends_at": now + timedelta(days=75)}
    with world.database.transaction() as s:
        group = groups.create(s, TEST, name="Network security WS 26")
        world.group = group.id
        other = groups.create(s, TEST, name="Digital forensics WS 26")
        for row in (group, other):
            groups.add_member(s, TEST, row.id, world.users["teacher"], MembershipRole.TEACHER)
        live = []
        for number, name in enumerate(PEOPLE):
            login = name.split()[0].lower() if name.isascii() or number == 1 else f"s{number:04d}"
            user = users.create(
                s, TEST, username=login, role=Role.STUDENT, display_name=name, backend="campus", email=None
            )
            world.users[login] = user.id
            world.tokens[login] = logins.create(s, user.id, address="192.0.2.7", user_agent=AGENT, lifetime=3600)
            groups.add_member(s, TEST, group.id, user.id)
            if number < 7:
                groups.add_member(s, TEST, other.id, user.id)
            vm = vms.by_ref(s, "pve", 201 + number)
            assert isinstance(vm, Vm)
            world.vms[vm.name] = vm.id
            assignments.create(
                s, TEST, vm_id=vm.id, user_id=user.id, via_group_id=group.id, can_power=True, can_reset=True, **term
            )
            if number % 3 == 0:
                live.append(ConsoleRequest(user.id, login, 1, vm.id, vm.label, address="192.0.2.7"))
        ids = [world.vms[f"kali-{number + 1:02d}"] for number in range(len(PEOPLE))]
        holdings.name_snapshot(s, TEST, ids, "lesson-3")
        for vmid, more in ((301, {"ends_at": now + timedelta(hours=5)}), (302, {"starts_at": now + timedelta(days=3)})):
            vm = vms.by_ref(s, "pve", vmid)
            assert isinstance(vm, Vm)
            assignments.create(s, TEST, vm_id=vm.id, user_id=world.users["ada"], via_group_id=other.id, **more)
        vm = vms.by_ref(s, "pve", 300)
        assert isinstance(vm, Vm)
        assignments.create(s, TEST, vm_id=vm.id, group_id=group.id)
    return live


AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class Drawn(ScriptedSocket):
    """A machine's console as the simulated cluster draws it."""

    size = screen.WIDTH, screen.HEIGHT

    def pixels(self) -> bytes:
        """Somebody is working there."""
        drawn = screen.Screen(self.vm.name, attribute(self.vm.vmid), lambda row, first, last: None)
        for letter in ("nmap -sV 10.0.0.7\r", "ls exercise-3\r", "ssh root@10.0.0.7")[self.vm.id % 3]:
            drawn.type(letter)
        return drawn.render(screen.PixelFormat(shifts=(0, 8, 16)), 0, 0, *self.size)


@contextlib.asynccontextmanager
async def lab(folder: Path) -> AsyncIterator[tuple[World, str]]:
    """The portal with its people; where it listens."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    world = World(SqliteTemplate(folder).copy(folder), public_url=url)
    states = ("running", "running", "stopped")
    world.cluster.found = [
        resource(201 + n, f"kali-{n + 1:02d}", states[n % 3], node=f"pve{n % 2 + 1}", tags=("netsec",), pool="ws26")
        for n in range(len(PEOPLE))
    ]
    world.cluster.found += [
        *(resource(100 + n, name, "stopped") for n, name in enumerate(("kali", "spare", "other"))),
        resource(300, "metasploit-2", tags=("netsec", "shared")),
        *(resource(311 + n, f"forensics-{n + 1}", "stopped", pool="ws26") for n in range(6)),
        resource(301, "exam-web", "running", pool="exam"),
        resource(302, "disk-image", "stopped", kind="lxc"),
    ]
    world.cluster.kept = [Snapshot("lesson-1"), Snapshot("lesson-3", "before the exam")]
    await ClusterWatch(world.database, world.portal.clusters["pve"]).look()
    application = make_application(world.portal)
    application.add_handlers(".*", [(f"/vnc-proxy/ws/{ID}", Drawn, {"console": ScriptedConsole()})])
    server = HTTPServer(application)
    server.add_socket(sock)
    with contextlib.ExitStack() as open_consoles:
        for request in fill(world):
            live = open_consoles.enter_context(world.portal.registry.entry(request, lambda code: None))
            live.open = True
        yield world, url
    server.stop()
    await server.close_all_connections()
    await world.portal.operations.close()
    world.close()


async def take(
    browser: Browser, url: str, token: str, shot: Shot, into: Path, form: str, *, locale: str = "en-GB"
) -> None:
    """One picture: ``form`` is "light", "dark" or "phone"."""
    width, height = SIZES["phone" if form == "phone" else "desktop"]
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if form == "dark" else "light",
        reduced_motion="reduce",
        locale=locale,
        timezone_id="Europe/Berlin",
    )
    cookies = {"tz": "Europe/Berlin"} | ({"cyberlab": token} if token else {})
    await context.add_cookies([{"name": name, "value": value, "url": url} for name, value in cookies.items()])
    page = await context.new_page()
    response = await page.goto(url + shot.path)
    assert response is not None
    if shot.steps is not None:
        await shot.steps(page)
    with contextlib.suppress(Exception):
        await page.wait_for_load_state("networkidle", timeout=3000)
    if response.status == 404 and shot.name != "error":
        print(f"there is no {shot.path}")
    else:
        suffix = "" if form == "light" else f"-{form}"
        suffix += "" if locale == "en-GB" else f"-{locale}"
        await page.screenshot(path=into / f"{shot.name}{suffix}.png", full_page=True)
    await context.close()


async def run(into: Path, *, everything: bool, only: str) -> None:
    """Make the lab, take the pictures."""
    executable = services.find("chromium")
    with tempfile.TemporaryDirectory() as folder:
        async with lab(Path(folder)) as (world, url), async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            for shot in shots(world):
                if only and only != shot.name:
                    continue
                token = world.tokens.get(shot.who, "")
                world.cluster.as_of = utcnow()
                for form in ("light", "dark", "phone"):
                    if everything or form == "light" or form in shot.also:
                        await take(browser, url, token, shot, into, form)
                if everything:
                    await take(browser, url, token, shot, into, "phone", locale="de-DE")
            await browser.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images" / "pages")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    args.into.mkdir(parents=True, exist_ok=True)
    asyncio.run(run(args.into, everything=args.all, only=args.only))


if __name__ == "__main__":
    main()
