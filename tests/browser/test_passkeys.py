"""Passkeys, with Chromium's virtual authenticator: a real browser makes and signs every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.async_api import Page, Request, expect

from cyberlab.auth.base import NeedsSecondFactor
from cyberlab.auth.config import AuthConfig, Policy, SecondFactor
from cyberlab.auth.passkeys import PasskeyRefused, Passkeys
from cyberlab.db import audit, factors
from tests.browser.conftest import OpenPage, sign_in
from tests.databases import SqliteTemplate
from tests.web import PASSWORD, World

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def world(sqlite: SqliteTemplate, tmp_path: Path, http_port: int) -> Iterator[World]:
    """A portal that is open at its own address, as passkeys want it; teachers need a second factor."""
    policy = AuthConfig(second_factor=SecondFactor(teacher=Policy.REQUIRED))
    made = World(sqlite.copy(tmp_path), auth=policy, public_url=f"http://localhost:{http_port}")
    yield made
    made.close()


async def _authenticator(page: Page) -> None:
    """Plug one in."""
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("WebAuthn.enable")
    await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


async def _password(page: Page, who: str) -> None:
    await page.goto("/auth/login")
    await page.get_by_label("User name").fill(who)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def _add(page: Page, name: str = "key") -> None:
    await page.goto("/account")
    await page.get_by_role("link", name="Add a passkey").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Add a passkey").click()


@pytest.mark.gen_test
async def test_a_passkey_is_added_used_and_removed(open_page: OpenPage, world: World) -> None:
    async with open_page() as page:
        await _authenticator(page)
        await sign_in(page, "student")
        await _add(page, "my laptop")
        await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
        await expect(page.locator(".codes li")).to_have_count(10)
        await page.get_by_role("link", name="I have kept them").click()
        await expect(page.get_by_text("my laptop")).to_be_visible()

        await page.context.clear_cookies()
        await _password(page, "student")
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page).to_have_title("My machines · CyberLab")
        (passkey,) = (await world.database.run(factors.overview, world.users["student"])).passkeys
        assert passkey.last_used_at is not None
        assert passkey.sign_count > 0

        await page.goto("/account")
        await page.get_by_role("link", name="Remove my laptop").click()
        await page.get_by_role("button", name="Remove the passkey").click()
        await expect(page.get_by_role("status")).to_have_text("The passkey was removed.")
        await page.context.clear_cookies()
        await sign_in(page, "student")


@pytest.mark.gen_test
async def test_who_needs_a_factor_may_enrol_a_passkey(open_page: OpenPage, world: World) -> None:
    async with open_page() as page:
        await _authenticator(page)
        await _password(page, "teacher")
        await page.get_by_role("link", name="Use a passkey or a security key instead").click()
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.locator(".codes li")).to_have_count(10)
        await page.get_by_role("link", name="I have kept them").click()
        await expect(page).to_have_url("/teacher")
        assert await world.database.run(factors.enrolled, world.users["teacher"]) == {"webauthn"}


@pytest.mark.gen_test
async def test_an_answer_is_good_once_here_and_for_its_user(open_page: OpenPage, world: World) -> None:
    sent: list[dict[str, str]] = []

    def note(request: Request) -> None:
        if request.method == "POST" and "passkey" in request.url and request.post_data:
            sent.append({name: values[0] for name, values in parse_qs(request.post_data).items()})

    async with open_page() as page:
        page.on("request", note)
        await _authenticator(page)
        await sign_in(page, "student")
        await _add(page)
        await expect(page.locator(".codes li")).to_have_count(10)
        await page.context.clear_cookies()
        await _password(page, "student")
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page).to_have_title("My machines · CyberLab")
        added, used = sent

        await page.context.clear_cookies()
        await _password(page, "student")
        await expect(page.get_by_role("button", name="Use a passkey")).to_be_visible()
        fresh = await page.locator("input[name=challenge]").input_value()
        for challenge, answer in (
            (used["challenge"], used["answer"]),  # replayed
            (fresh, used["answer"]),  # an old answer to a new question
            (added["challenge"], used["answer"]),  # a question for another purpose
            ("forged", used["answer"]),
            (fresh, "{}"),
            (fresh, ""),
        ):
            token = await page.locator("input[name=_xsrf]").first.input_value()
            form = {"_xsrf": token, "challenge": challenge, "answer": answer}
            response = await page.request.post("/auth/factor/passkey", form=form)
            assert response.status in (401, 429), challenge
            assert "not accepted" in await response.text() or response.status == 429
        await page.goto("/student")
        await expect(page).to_have_title("Sign in · CyberLab")
        rows = (await world.database.run(audit.page)).rows
        assert any((row.action, row.detail) == ("login.factor-failure", "webauthn") for row in rows)

    question = json.loads(used["answer"])
    assert question["type"] == "public-key"
    elsewhere = Passkeys(world.database, world.auth_pool, "https://evil.example")
    with pytest.raises(PasskeyRefused):
        await elsewhere.verify(world.users["student"], b"x" * 32, used["answer"])
    with pytest.raises(PasskeyRefused):
        await world.portal.passkeys.verify(world.users["other"], b"y" * 32, used["answer"])


@pytest.mark.gen_test
async def test_a_browser_that_is_told_no_says_so(open_page: OpenPage, world: World) -> None:
    async with open_page() as page:
        await _authenticator(page)
        await sign_in(page, "student")
        await _add(page)
        await expect(page.locator(".codes li")).to_have_count(10)
        await _add(page)  # the same authenticator again
        await expect(page.get_by_role("alert")).to_contain_text("in use for your account already")
        await expect(page.get_by_role("button", name="Add a passkey")).to_be_enabled()
    outcome = await world.portal.logins.sign_in("student", PASSWORD, address="192.0.2.7", user_agent="")
    assert isinstance(outcome, NeedsSecondFactor)
    assert outcome.methods == {"webauthn"}
