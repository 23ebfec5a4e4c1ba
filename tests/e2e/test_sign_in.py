"""Every way to sign in, in a real browser, up to an open console, with the configurations of docs/sign-in.md."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator

import pyotp
import pytest
from playwright.async_api import Page, expect

from cyberlab.db import assignments, groups, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from tests import samba, slapd
from tests.e2e import front
from tests.e2e.conftest import OpenPage, fill_in, open_console
from tests.e2e.lab import PASSWORD, ROOT, Child, Lab, free_port
from tests.sso import servers

SHOWN = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "sign-in.md").read_text(), flags=re.DOTALL)
CLASS = "Network Security"
MAPPING = f"""
[backend.mapping.classes]
"lab-*" = "{CLASS}"
"course-*" = "{CLASS}"
"""
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


def documented(name: str, **places: object) -> str:
    """The backend of that name as the documentation shows it; only where the servers are is another place."""
    (text,) = [text for text in SHOWN if f'name = "{name}"' in text]
    for key, value in places.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {json.dumps(value)}", text, flags=re.MULTILINE)
        assert count == 1, (name, key)
    return text + MAPPING


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with all of them; VM 100 is the class's, into which everybody's groups lead."""
    folder = tmp_path_factory.mktemp("sign-in")
    port, portal = free_port(), free_port()
    home = f"http://localhost:{port}"  # a name, as passkeys want it
    with contextlib.ExitStack() as stack:
        ldap = stack.enter_context(contextlib.closing(slapd.Slapd(folder / "slapd")))
        ad = stack.enter_context(contextlib.closing(samba.Samba(folder / "samba")))
        back = f"{home}/auth/sso/uni/callback"
        issuer = stack.enter_context(servers.oidc_provider(back, f"{home}/auth/login", folder / "oidc.log"))
        (folder / "cas").mkdir()
        cas = stack.enter_context(servers.cas_server(folder / "cas"))
        file = folder / "sign-in.toml"
        file.write_text(
            "\n".join(
                [
                    '[[backend]]\nname = "local"\nkind = "local"\n',
                    documented("campus-ldap", servers=[ldap.url, ldap.tls_url], ca_file=str(ldap.ca)),
                    documented("campus-ad", servers=[ad.url, ad.tls_url], ca_file=str(ad.ca)),
                    documented("uni", issuer=issuer),
                    documented("cas", url=cas),
                    documented("shib", addresses=[front.ADDRESS]),
                ]
            )
        )
        made = Lab(
            folder,
            real=False,
            port=portal,
            PUBLIC_URL=home,
            AUTH_CONFIG=str(file),
            CAMPUS_LDAP_PASSWORD=slapd.SERVICE_PASSWORD,
            OIDC_SECRET=servers.CLIENT_SECRET,
        )
        stack.callback(made.close)
        words = ["-m", "tests.e2e.front", str(port), str(portal)]
        stack.callback(Child(words, "^ready", made.environment, folder / "front.log").stop)
        _give(made)
        yield made


def _give(lab: Lab) -> None:
    database = Database(lab.environment["DATABASE_URL"], workers=1)
    actor = Actor(None, "test")
    with database.transaction() as s:
        group = groups.create(s, actor, name=CLASS)
        vm = vms.by_ref(s, "demo", 100)
        assert vm is not None
        assignments.create(s, actor, vm_id=vm.id, group_id=group.id)
    database.close()


async def _button(page: Page, lab: Lab, label: str) -> None:
    await page.goto(f"{lab.url}/auth/login")
    await page.get_by_role("link", name=label).click()


async def _at_home(page: Page, lab: Lab) -> None:
    await page.wait_for_url(f"{lab.url}/student")
    await open_console(page, "kali-07")


@pytest.mark.gen_test(timeout=120)
async def test_by_a_local_password_and_an_app(lab: Lab, open_page: OpenPage) -> None:
    async with open_page() as page:
        await fill_in(page, lab, "ada", PASSWORD)
        await page.wait_for_url(f"{lab.url}/student")
        await page.goto(f"{lab.url}/account/totp")
        secret = await page.locator("code.secret").text_content()
        app = pyotp.TOTP((secret or "").replace(" ", ""))
        await page.fill("[name=code]", app.now())
        await page.get_by_role("button", name="Add the app").click()
        await expect(page.locator(".codes li")).to_have_count(10)
        await page.context.clear_cookies()
        await fill_in(page, lab, "ada", PASSWORD)
        await page.wait_for_url(f"{lab.url}/auth/factor**")
        await page.fill("[name=code]", app.at(time.time() + 30))  # the present one is used
        await page.get_by_role("button", name="Sign in").click()
        await _at_home(page, lab)


@pytest.mark.gen_test(timeout=120)
async def test_by_a_passkey(lab: Lab, open_page: OpenPage) -> None:
    lab.command("assign", "ben", "demo/100")
    async with open_page() as page:
        cdp = await page.context.new_cdp_session(page)
        await cdp.send("WebAuthn.enable")
        await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        await fill_in(page, lab, "ben", PASSWORD)
        await page.wait_for_url(f"{lab.url}/student")
        await page.goto(f"{lab.url}/account/passkeys")
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.locator(".codes li")).to_have_count(10)
        await page.context.clear_cookies()
        await fill_in(page, lab, "ben", PASSWORD)
        await page.get_by_role("button", name="Use a passkey").click()
        await _at_home(page, lab)


@pytest.mark.gen_test(timeout=120)
async def test_by_an_ldap_directory(lab: Lab, open_page: OpenPage) -> None:
    async with open_page() as page:
        await fill_in(page, lab, "anna", slapd.PASSWORD)
        await _at_home(page, lab)
    assert "anna " in lab.command("user", "list")


@pytest.mark.gen_test(timeout=120)
async def test_by_active_directory(lab: Lab, open_page: OpenPage) -> None:
    async with open_page() as page:
        await fill_in(page, lab, "anna@ad.example", samba.PASSWORD)
        await _at_home(page, lab)


@pytest.mark.gen_test(timeout=120)
async def test_by_openid_connect(lab: Lab, open_page: OpenPage) -> None:
    async with open_page() as page:
        await _button(page, lab, "Sign in with Uni")
        await page.fill("[name=login]", "anna")
        await page.fill("[name=password]", "anything")
        await page.click("[type=submit]")
        await _at_home(page, lab)


@pytest.mark.gen_test(timeout=120)
async def test_by_cas(lab: Lab, open_page: OpenPage) -> None:
    async with open_page() as page:
        await _button(page, lab, "Sign in with CAS")
        await page.fill("[name=username]", "bert")
        await page.fill("[name=password]", servers.PASSWORD)
        await page.click("[type=submit]")
        await _at_home(page, lab)


@pytest.mark.gen_test(timeout=120)
async def test_by_the_web_server_in_front(lab: Lab, open_page: OpenPage) -> None:
    async with open_page() as page:
        await page.set_extra_http_headers({"X-Remote-User": "ann"})  # an admin here; the front takes it off
        await _button(page, lab, "Shibboleth")
        await _at_home(page, lab)
    backends = {line.split()[0]: line.split()[3] for line in lab.command("user", "list").splitlines()}
    assert backends["shibby"] == "shib"


def test_check_finds_nothing_wrong_with_any_of_them(lab: Lab) -> None:
    rows = json.loads(lab.command("check", "--sign-in", "--json"))
    assert {row["backend"] for row in rows} == {"campus-ldap", "campus-ad", "uni", "cas", "shib"}
    assert {row["state"] for row in rows} == {"held"}
