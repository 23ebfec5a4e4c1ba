"""A portal behind a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application

from cyberlab.handlers.routes import make_application
from tests.databases import SqliteTemplate
from tests.handlers.jar import NOW, Jar
from tests.web import Client, World


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    """A migrated SQLite file to copy."""
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def settings() -> dict[str, object]:
    """Settings that differ from the defaults; a test module may override this."""
    return {}


@pytest.fixture
def world(sqlite: SqliteTemplate, tmp_path: Path, settings: dict[str, object]) -> Iterator[World]:
    """A portal with people and machines."""
    made = World(sqlite.copy(tmp_path), **settings)
    yield made
    made.close()


@pytest.fixture
def app(world: World) -> Application:
    """What pytest-tornado serves."""
    return make_application(world.portal)


@pytest.fixture
def client(http_client: AsyncHTTPClient, base_url: str, world: World) -> Client:
    """A browser without a screen."""
    return Client(http_client, base_url, world)


@pytest.fixture
def jar(http_client: AsyncHTTPClient, base_url: str, world: World) -> Jar:
    """A browser; the portal's clock and the authenticator apps' stand still."""
    world.portal.factors.clock = lambda: NOW
    return Jar(http_client, base_url)
