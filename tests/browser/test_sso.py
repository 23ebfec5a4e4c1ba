"""Signing in by somebody else's page in Chromium: at a real OpenID Connect server and at a real CAS server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from cyberlab.auth import config as auth_config
from cyberlab.auth.base import BackendContext
from cyberlab.db import users
from cyberlab.db.engine import Database
from cyberlab.settings import Settings
from tests.browser.conftest import OpenPage
from tests.databases import SqliteTemplate
from tests.sso import servers
from tests.web import World


@pytest.fixture
def home(http_port: int) -> str:
    """Where the browser finds the portal."""
    return f"http://localhost:{http_port}"  # cookies are for one host: it must be PUBLIC_URL's


@pytest.fixture
def world(sqlite: SqliteTemplate, tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A portal with both servers; both ask for a group."""
    monkeypatch.setenv("OIDC_SECRET", servers.CLIENT_SECRET)
    url = sqlite.copy(tmp_path)
    log = tmp_path / "oidc.log"
    with (
        servers.oidc_provider(f"{home}/auth/sso/uni/callback", f"{home}/auth/login", log) as issuer,
        servers.cas_server(tmp_path) as cas,
    ):
        config = auth_config.parse(
            {
                "backend": [
                    {"name": "local", "kind": "local", "hidden": True},
                    {
                        "name": "uni",
                        "kind": "oidc",
                        "label": "Sign in with Uni",
                        "issuer": issuer,
                        "client_id": servers.CLIENT_ID,
                        "client_secret_env": "OIDC_SECRET",
                        "mapping": {"required_groups": ["lab-users"]},
                    },
                    {
                        "name": "cas",
                        "kind": "cas",
                        "label": "Sign in with CAS",
                        "url": cas,
                        "mapping": {"required_groups": ["lab-users"], "classes": {"course-*": "Course *"}},
                    },
                ]
            }
        )
        unused = Database(url)
        built = auth_config.build(config, BackendContext(unused, Settings(_env_file=None)))
        unused.close()
        made = World(url, backends=built, public_url=home)
        yield made
        made.close()


async def _at_uni(page: Page, who: str) -> None:
    await page.goto("/student")
    await page.get_by_role("link", name="Sign in with Uni").click()
    await page.locator("[name=login]").fill(who)
    await page.locator("[name=password]").fill("anything")
    await page.locator("[type=submit]").click()


@pytest.mark.gen_test(timeout=90)
async def test_by_openid_connect_and_out_again(open_page: OpenPage, world: World, home: str) -> None:
    async with open_page() as page:
        await _at_uni(page, "anna")
        await page.wait_for_url(f"{home}/student")
        await expect(page).to_have_title("My machines · CyberLab")
        anna = await world.database.run(users.by_name, "anna", "uni")
        assert anna is not None
        assert anna.email == "anna@uni.example"

        await page.locator(".menu summary").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("link", name="Sign out there too").click()
        await page.get_by_role("button", name="Yes, sign me out").click()
        await page.wait_for_url(f"{home}/auth/login**")
        await expect(page.get_by_role("link", name="Sign in with Uni")).to_be_visible()


@pytest.mark.gen_test(timeout=90)
async def test_who_is_in_no_group_reads_why_not(open_page: OpenPage, world: World) -> None:
    async with open_page() as page:
        await _at_uni(page, "carl")
        await expect(page.get_by_role("alert")).to_contain_text("may not use this portal")
    assert await world.database.run(users.by_name, "carl", "uni") is None


@pytest.mark.gen_test(timeout=90)
async def test_by_cas(open_page: OpenPage, world: World, home: str) -> None:
    async with open_page() as page:
        await page.goto("/auth/login")
        await page.get_by_role("link", name="Sign in with CAS").click()
        await page.locator("[name=username]").fill("bert")
        await page.locator("[name=password]").fill(servers.PASSWORD)
        await page.locator("[type=submit]").click()
        await page.wait_for_url(f"{home}/student")
        await expect(page).to_have_title("My machines · CyberLab")
    bert = await world.database.run(users.by_name, "bert", "cas")
    assert bert is not None
    assert bert.display_name == "Bert <Example> & Söhne"
