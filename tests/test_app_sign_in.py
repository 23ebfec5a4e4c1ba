"""The wiring of AUTH_CONFIG: from the file, by a third party's backend, to a page that is signed in."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from cyberlab import app
from cyberlab.auth.base import BackendContext, BackendUnavailable, Identity
from cyberlab.db import audit, groups, users
from cyberlab.db.engine import Database
from cyberlab.db.models import Role
from cyberlab.settings import ClusterSettings, Configuration, Settings, SettingsError
from tests.databases import migrate
from tests.web import XSRF

FILE = """
[[backend]]
name = "campus"
kind = "tests.test_app_sign_in:Campus"
greeting = "hello"
secret_env = "CAMPUS_SECRET"
[backend.mapping]
required_groups = ["lab"]
roles = { staff = "teacher" }
classes = { "course-*" = "Course *" }
"""


class Campus:
    """A third party's backend."""

    groups: ClassVar[set[str]] = set()
    down: ClassVar[bool] = False
    closed: ClassVar[bool] = False

    def __init__(self, name: str, options: dict[str, object], context: BackendContext) -> None:
        secret = options["secret"]
        assert isinstance(secret, SecretStr)
        assert (options["greeting"], secret.get_secret_value()) == ("hello", "s3cret")
        assert isinstance(context.database, Database)
        self.name = name

    def authenticate(self, username: str, password: str) -> Identity | None:
        if Campus.down:
            raise BackendUnavailable("connection refused")
        if password != "right":
            return None
        return Identity(self.name, "uuid-1", username, "Anna A.", "anna@example.edu", frozenset(Campus.groups))

    def close(self) -> None:
        Campus.closed = True


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    monkeypatch.setenv("CAMPUS_SECRET", "s3cret")
    (tmp_path / "sign-in.toml").write_text(FILE)
    url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    migrate(url)
    portal = Settings(
        _env_file=None,
        auth_config=tmp_path / "sign-in.toml",
        database_url=url,
        secret_key="x" * 40,
        listen_port=0,
        shutdown_grace=1.0,
    )
    return Configuration(portal, (ClusterSettings(_env_file=None),))


async def _sign_in(server: app.Server, password: str = "right") -> HTTPResponse:
    return await AsyncHTTPClient().fetch(
        f"{server.address}/auth/login",
        method="POST",
        body=urlencode({"username": "Anna", "password": password, "_xsrf": XSRF}),
        headers={"Cookie": f"_xsrf={XSRF}"},
        follow_redirects=False,
        raise_error=False,
    )


@pytest.mark.gen_test
async def test_from_the_file_to_a_page_that_is_signed_in(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = app.Server(configuration)
    await server.start()
    try:
        monkeypatch.setattr(Campus, "groups", {"lab", "staff", "course-netsec"})
        response = await _sign_in(server)
        assert response.code == 303
        cookie = next(value for value in response.headers.get_list("Set-Cookie") if value.startswith("cyberlab="))
        page = await AsyncHTTPClient().fetch(f"{server.address}/teacher", headers={"Cookie": cookie.split(";")[0]})
        assert b"My classes" in page.body
        assert [group.name for group in (await server.database.run(groups.page)).rows] == ["Course netsec"]
        anna = await server.database.run(users.by_name, "anna", "campus")
        assert anna is not None
        assert (anna.role, anna.display_name, anna.subject) == (Role.TEACHER, "Anna A.", "uuid-1")

        response = await _sign_in(server, "wrong")
        assert response.code == 401
        assert b"do not match" in response.body

        monkeypatch.setattr(Campus, "groups", {"staff"})
        response = await _sign_in(server)
        assert response.code == 401
        assert b"may not use this portal" in response.body

        monkeypatch.setattr(Campus, "down", True)
        response = await _sign_in(server)
        assert response.code == 401
        assert b"not reachable" in response.body
        rows = (await server.database.run(audit.page)).rows
        assert {"login.success", "login.failure", "login.refused", "login.unavailable"} <= {row.action for row in rows}
    finally:
        await server.stop()
    assert Campus.closed


def test_a_bad_file_stops_the_start(configuration: Configuration) -> None:
    assert configuration.portal.auth_config is not None
    configuration.portal.auth_config.write_text(FILE.replace("lab", "lab\\"))
    with pytest.raises(SettingsError, match="AUTH_CONFIG"):
        app.Server(configuration)
