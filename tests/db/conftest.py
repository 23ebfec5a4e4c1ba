"""Every test of a query runs on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from tests import services
from tests.databases import Postgres, SqliteTemplate


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    """A migrated SQLite file to copy."""
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run."""
    server = Postgres(services.require("postgresql"))
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh migrated database."""
    if request.param == "sqlite":
        template: SqliteTemplate = request.getfixturevalue("sqlite")
        return template.copy(tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return server.copy()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A fresh migrated database, opened."""
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def actor() -> Actor:
    """Somebody to write into the audit rows."""
    return Actor(None, "test", "192.0.2.1")
