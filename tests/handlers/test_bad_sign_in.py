"""What goes wrong at somebody else's end, as page and audit tell it: a directory in trouble, an issuer that lies."""

from __future__ import annotations

import dataclasses
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.web import Application

from cyberlab.auth.config import AuthConfig, BackendConfig, Backends
from cyberlab.auth.ldap import LdapBackend, LdapOptions
from cyberlab.auth.login import LoginService
from cyberlab.auth.oidc import OidcBackend, OidcOptions
from cyberlab.db import audit, users
from cyberlab.handlers.routes import make_application
from tests.auth.test_oidc import LIES, Lie
from tests.databases import SqliteTemplate
from tests.handlers.jar import Jar
from tests.slapd import BASE, PASSWORD, SERVICE_DN, SERVICE_PASSWORD, Slapd, free_port, make_certificate
from tests.sso.issuer import CLIENT_ID, Issuer, serving
from tests.web import World, text

AWAY = "not reachable just now"
WRONG = "do not match"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A directory that is all right by itself."""
    server = Slapd(tmp_path_factory.mktemp("slapd"))
    yield server
    server.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A directory that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ldap://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def trouble() -> str:
    """What is wrong with the directory; tests say so themselves."""
    return ""


@pytest.fixture
def issuer(io_loop: IOLoop) -> Iterator[Issuer]:
    """An issuer that says what the test wants."""
    yield from serving(io_loop)


@pytest.fixture
def world(
    sqlite: SqliteTemplate, tmp_path: Path, slapd: Slapd, silent: str, issuer: Issuer, trouble: str
) -> Iterator[World]:
    """A portal with local accounts, that directory and that issuer."""
    changes: dict[str, dict[str, Any]] = {
        "hangs": {"servers": [silent]},
        "refuses": {"servers": [f"ldap://127.0.0.1:{free_port()}"]},
        "certificate": {"ca_file": make_certificate(tmp_path / "other")[0]},
        "account": {"bind_password": "old"},
    }
    options = {
        "servers": [slapd.url], "ca_file": slapd.ca, "base": BASE, "bind_dn": SERVICE_DN,
        "bind_password": SERVICE_PASSWORD, "timeout": 1,
    }  # fmt: skip
    campus = LdapBackend("campus", LdapOptions.model_validate(options | changes.get(trouble, {})))
    uni = OidcBackend("uni", OidcOptions(issuer=issuer.url, client_id=CLIENT_ID, label="Sign in with Uni"))
    kinds = ("local", "campus", "uni")
    config = AuthConfig(tuple(BackendConfig(name=name, kind="local" if name == "local" else "x") for name in kinds))
    made = World(sqlite.copy(tmp_path), backends=Backends(config, redirect=(uni,)))
    backends = [*made.backends.password, campus]
    logins = LoginService(made.database, made.auth_pool, backends, made.config, config)
    made.portal = dataclasses.replace(made.portal, logins=logins)
    yield made
    made.close()


@pytest.fixture
def app(world: World) -> Application:
    """The portal with them."""
    return make_application(world.portal)


@pytest.fixture
def jar(http_client: AsyncHTTPClient, base_url: str) -> Jar:
    """A browser."""
    return Jar(http_client, base_url)


async def _audited(world: World) -> list[tuple[str, str]]:
    return [(row.action, row.detail) for row in (await world.database.run(audit.page)).rows]


@pytest.mark.gen_test
async def test_all_right_to_begin_with(jar: Jar, world: World) -> None:
    assert (await jar.password("anna", PASSWORD)).code == 303
    assert jar.signed_in
    assert await world.database.run(users.by_name, "anna", "campus") is not None


@pytest.mark.parametrize(
    ("trouble", "name", "words", "row"),
    [
        ("hangs", "anna", AWAY, ("login.unavailable", "no answer in time")),
        ("refuses", "anna", AWAY, ("login.unavailable", "connection refused")),
        ("certificate", "anna", AWAY, ("login.unavailable", "its certificate is not trusted")),
        ("account", "anna", AWAY, ("login.unavailable", "the service account was refused")),
        ("", "twin", WRONG, ("login.failure", "too-many-entries: .* both match")),
        ("", "anna", WRONG, ("login.failure", "")),
    ],
)
@pytest.mark.gen_test
async def test_a_directory_in_trouble(
    jar: Jar, world: World, trouble: str, name: str, words: str, row: tuple[str, str]
) -> None:
    pages = []
    for who in (name, "nobody", "student"):  # known there, nowhere, and here: all read the same
        response = await jar.password(who, "a wrong guess")
        assert response.code == 401
        pages.append(text(response).replace(f'value="{who}"', ""))
    assert words in pages[0]
    assert len({re.sub(r'name="_xsrf" value="[^"]*"|[0-9a-f]{16}', "", page) for page in pages}) == 1
    assert any(action == row[0] and re.search(row[1], detail) for action, detail in await _audited(world))
    assert not jar.signed_in


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.strip("_"))
@pytest.mark.gen_test
async def test_a_false_id_token_is_refused_in_words_and_noted(jar: Jar, world: World, issuer: Issuer, lie: Lie) -> None:
    lie(issuer)
    start = await jar.ask("/auth/sso/uni/start")
    answer = urlencode(issuer.answer_to(start.headers["Location"]))
    response = await jar.ask(f"/auth/sso/uni/callback?{answer}")
    assert response.code == 401
    assert "does not prove who you are. Please begin again." in text(response)
    assert not jar.signed_in
    assert await world.database.run(users.by_name, "anna", "uni") is None
    (noted,) = [detail for action, detail in await _audited(world) if action == "login.failure"]
    assert noted.startswith("uni: id-token: ")
    again = await jar.ask(f"/auth/sso/uni/callback?{answer}")  # the cookie is used up too
    assert (again.code, "not begun in this browser" in text(again)) == (401, True)


@pytest.mark.gen_test
async def test_a_true_one_is_taken_once(jar: Jar, issuer: Issuer) -> None:
    start = await jar.ask("/auth/sso/uni/start")
    answer = urlencode(issuer.answer_to(start.headers["Location"]))
    assert (await jar.ask(f"/auth/sso/uni/callback?{answer}")).code == 303
    assert jar.signed_in
    assert (await jar.ask(f"/auth/sso/uni/callback?{answer}")).code == 401
