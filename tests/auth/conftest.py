"""A migrated database, a service to sign in to, bcrypt at its cheapest; an issuer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from cyberlab.auth.local import LocalBackend
from cyberlab.auth.login import LoginService
from cyberlab.auth.oidc import OidcBackend, OidcOptions
from cyberlab.blocking import BlockingPool
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.settings import Settings
from tests.databases import SqliteTemplate
from tests.sso.issuer import CLIENT_ID, Issuer, serving

COST = 4


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    """A migrated SQLite file to copy."""
    return SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture
def database(sqlite: SqliteTemplate, tmp_path: Path) -> Iterator[Database]:
    """A fresh migrated database."""
    opened = Database(sqlite.copy(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def auth_pool() -> Iterator[BlockingPool]:
    """Threads for bcrypt."""
    pool = BlockingPool("auth", 2, waiting=2)
    yield pool
    pool.close()


@pytest.fixture
def service(database: Database, auth_pool: BlockingPool) -> LoginService:
    """Sign-in with local accounts."""
    return LoginService(database, auth_pool, [LocalBackend(database, COST)], Settings(_env_file=None))


@pytest.fixture
def actor() -> Actor:
    """Somebody to write into the audit rows."""
    return Actor(None, "test")


@pytest.fixture
def issuer(io_loop: IOLoop) -> Iterator[Issuer]:
    """An issuer that says what the test wants."""
    yield from serving(io_loop)


@pytest.fixture
def backend(issuer: Issuer) -> Iterator[OidcBackend]:
    """A backend that trusts it."""
    made = OidcBackend("uni", OidcOptions(issuer=issuer.url, client_id=CLIENT_ID))
    yield made
    made.close()
