"""The database: connections, transactions, and the thread pool that keeps them off the IOLoop."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from cyberlab.blocking import BlockingPool, Load
from cyberlab.db import read_only
from cyberlab.db.epoch import PortalSession
from cyberlab.db.errors import DatabaseUnavailable
from cyberlab.db.read_only import reads as reads  # offered here too: it says how run() calls

P = ParamSpec("P")
T = TypeVar("T")

MIGRATIONS = Path(__file__).resolve().parent.parent.parent / "migrations"
RUN_TIMEOUT = 10.0  # seconds that a caller of run() waits
BUSY_TIMEOUT = 5.0  # seconds that a statement waits for a lock or a connection; shorter, so that a cause is named


class Database:
    """The engine, and a pool of threads to use it from the IOLoop."""

    def __init__(self, url: str, workers: int = 4) -> None:
        """``url``: sqlite:///path or postgresql://…; ``workers``: threads, hence connections, of run().

        Raises DatabaseUnavailable if the URL is none or a file cannot be made there. Connects later.
        """
        self._url = url
        self._engine = make_engine(url, connections=workers)
        self._reading = self._engine.execution_options(sqlite_begin="DEFERRED")
        self._pool = BlockingPool("db", workers)

    @property
    def dialect(self) -> str:
        """Which database it is: "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @property
    def load(self) -> Load:
        """How busy its threads are."""
        return self._pool.load

    async def run(self, fn: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fn(session, …)`` in one transaction on a database thread.

        Raises TimeoutError after ten seconds, PoolBusy when overloaded, DatabaseUnavailable when the
        database is, and whatever ``fn`` raises, after a rollback.
        """
        return await self._pool.run(RUN_TIMEOUT, self.call, fn, *args, **kwargs)

    def call(self, fn: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what run() does, on the caller's own thread (shell commands, backends on the auth pool)."""
        with self.transaction(reading=read_only.is_reading(fn)) as s:
            return fn(s, *args, **kwargs)

    @contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Session]:
        """Give a Session in one transaction: committed at the end, rolled back on an exception.

        ``reading``: take no write lock, and refuse writes. Raises DatabaseUnavailable when it cannot be used.
        """
        session = PortalSession(self._reading if reading else self._engine, expire_on_commit=False)
        if reading:
            read_only.hold(session)
        try:
            with session, session.begin():
                yield session
        except DBAPIError as error:
            raise _unavailable(error) or error from error
        except PoolTimeout as error:
            raise DatabaseUnavailable("database has no free connection") from error

    def head_problem(self) -> str | None:
        """Why the portal cannot start on this database (blocking), or None: reached, and migrated to the head."""
        from alembic.migration import MigrationContext
        from alembic.script import ScriptDirectory

        try:
            with self._reading.connect() as connection:
                at = set(MigrationContext.configure(connection).get_current_heads())
                empty = not inspect(connection).get_table_names()
        except SQLAlchemyError as error:
            return f"database cannot be used: {_reason(error)}"
        known = ScriptDirectory(str(MIGRATIONS))
        if at == set(known.get_heads()):
            return None
        if at - {script.revision for script in known.walk_revisions()}:
            return f"database is newer than this program (revision {', '.join(sorted(at))}): update the program"
        state = "is empty" if empty else "has not been migrated"
        return f"database {state}: run python server.py migrate"

    def upgrade(self) -> None:
        """Migrate to the newest revision (blocking); raise DatabaseUnavailable where that is impossible."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["url"] = self._url  # not an option: they are interpolated, and printed on errors
        try:
            command.upgrade(config, "head")
        except DBAPIError as error:
            raise DatabaseUnavailable(f"database cannot be migrated: {_reason(error)}") from error

    def close(self) -> None:
        """End the threads (each call has its own timeout), then the connections."""
        self._pool.close()
        self._engine.dispose()


def make_engine(url: str, *, connections: int = 4, migrating: bool = False) -> Engine:
    """An engine whose transactions really begin, with a limit on every wait.

    ``migrating``: a single connection without foreign keys on SQLite (a table rebuilt by Alembic's batch
    mode would take the rows that refer to it along) and without a statement limit on PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnavailable("DATABASE_URL is not a database's URL") from error
    pool: dict[str, Any] = {"poolclass": NullPool}
    if not migrating:
        # A few connections more than threads: for the auth pool's backends, which look up a user themselves.
        pool = {"pool_size": connections, "max_overflow": 4, "pool_timeout": BUSY_TIMEOUT}
    if parsed.get_backend_name() == "sqlite":
        _make_file(parsed.database)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT}, **pool)
        event.listen(engine, "connect", _sqlite_migrating if migrating else _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    limit = "" if migrating else f" -c statement_timeout={RUN_TIMEOUT * 1000:.0f}"
    lock = f"-c lock_timeout={BUSY_TIMEOUT * 1000:.0f}"
    return create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": int(BUSY_TIMEOUT),
            "options": f"-c timezone=UTC {lock}{limit}",
            "application_name": "cyberlab",
        },
        **pool,
    )


def _make_file(name: str | None) -> None:
    """Make the database's file before SQLite does, readable by its owner only (-wal and -shm copy its mode)."""
    if not name or name == ":memory:" or name.startswith("file:"):
        return
    path = Path(name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseUnavailable(f"database file {path} cannot be opened: {error.strerror}") from error


def _sqlite_connect(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    # The driver would begin a transaction only before the first INSERT, long after the SELECT that
    # decided about it; _sqlite_begin says BEGIN itself.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _sqlite_migrating(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    _sqlite_connect(connection, record)
    connection.execute("PRAGMA foreign_keys=OFF").close()


def _sqlite_begin(connection: Connection) -> None:
    # IMMEDIATE unless told: a transaction that reads first and writes later can be refused at once, whatever
    # the busy_timeout, if another wrote in between (https://sqlite.org/isolation.html).
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'IMMEDIATE')}")


def _unavailable(error: DBAPIError) -> DatabaseUnavailable | None:
    """The error in other words if the database itself failed rather than a statement."""
    lost = error.connection_invalidated or type(error).__name__ == "OperationalError"
    return DatabaseUnavailable(f"database cannot be used: {_reason(error)}") if lost else None


def _reason(error: SQLAlchemyError) -> str:
    """The driver's first line, without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0][:300] if lines else type(cause).__name__
