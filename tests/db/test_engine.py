"""Transactions that really begin, waits that end, and threads that are joined."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from cyberlab.db import users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database, reads
from cyberlab.db.errors import Conflict, DatabaseUnavailable
from cyberlab.db.models import AccessEpoch, Role, User


def _read_then_write(s: Session) -> None:
    row = s.scalars(select(AccessEpoch).where(AccessEpoch.id == 1).with_for_update()).one()
    row.value += 1


@pytest.mark.gen_test
async def test_run_commits_and_gives_detached_rows(database: Database, actor: Actor) -> None:
    user = await database.run(users.create, actor, username="anna", role=Role.STUDENT)
    assert (user.id, user.username, user.active) == (1, "anna", True)
    again = await database.run(users.get, user.id)
    assert again is not None
    assert again.created_at == user.created_at
    assert again.created_at.utcoffset() is not None


@pytest.mark.gen_test
async def test_run_rolls_back_what_failed(database: Database, actor: Actor) -> None:
    def create_and_fail(s: Session) -> None:
        users.create(s, actor, username="anna", role=Role.STUDENT)
        raise LookupError("changed my mind")

    with pytest.raises(LookupError):
        await database.run(create_and_fail)
    assert await database.run(users.by_name, "anna") is None


def test_eight_threads_read_then_write_without_a_lost_update(database: Database) -> None:
    """On SQLite a transaction that began with a SELECT would be refused ("database is locked") or lose updates."""
    gate = threading.Barrier(8)

    def work() -> None:
        gate.wait(10)
        for _ in range(25):
            database.call(_read_then_write)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work) for _ in range(8)]:
            future.result(60)
    with database.transaction() as s:
        assert s.scalars(select(AccessEpoch.value)).one() == 200


def test_a_reader_does_not_wait_for_a_writer(database: Database, actor: Actor) -> None:
    with database.transaction() as s:
        users.create(s, actor, username="anna", role=Role.STUDENT)
        s.flush()
        assert database.call(users.by_name, "anna") is None  # sees the state before
    assert database.call(users.by_name, "anna") is not None


def test_a_query_that_claims_to_read_cannot_write(database: Database, actor: Actor) -> None:
    @reads
    def insert(s: Session) -> None:
        s.add(User(username="anna"))

    @reads
    def bulk(s: Session) -> None:
        s.execute(update(User).values(active=False))

    user = database.call(users.create, actor, username="bert", role=Role.STUDENT)

    @reads
    def change(s: Session) -> None:
        s.get_one(User, user.id).active = False

    for writing in (insert, bulk, change):
        with pytest.raises(RuntimeError, match="marked @reads"):
            database.call(writing)
    assert database.call(users.page).total == 1


def test_a_lost_database_is_named_without_the_statement(database: Database, actor: Actor) -> None:
    if database.dialect == "sqlite":
        with pytest.raises(DatabaseUnavailable, match="no such table"), database.transaction() as s:
            s.execute(text("SELECT * FROM nowhere WHERE name = :name"), {"name": "s3cret"})
        return
    with pytest.raises(DatabaseUnavailable) as caught, database.transaction() as s:
        s.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert "pg_terminate" not in str(caught.value)
    assert database.call(users.page).total == 0  # the pool replaces the dead connection


def test_a_rule_of_the_database_is_not_mistaken_for_its_loss(database: Database, actor: Actor) -> None:
    database.call(users.create, actor, username="anna", role=Role.STUDENT)
    with pytest.raises(Conflict, match="already"):
        database.call(users.create, actor, username="ANNA", role=Role.STUDENT)


@pytest.mark.gen_test
async def test_close_joins_the_threads_after_running_calls(url: str, actor: Actor) -> None:
    database = Database(url)
    inside = threading.Event()
    leave = threading.Event()

    def slow(s: Session) -> None:
        inside.set()
        assert leave.wait(10)
        users.create(s, actor, username="anna", role=Role.STUDENT)

    call = asyncio.ensure_future(database.run(slow))
    await asyncio.get_running_loop().run_in_executor(None, inside.wait, 10)
    threading.Timer(0.05, leave.set).start()
    database.close()
    await call
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("db")]
    reopened = Database(url)
    assert reopened.call(users.by_name, "anna") is not None
    reopened.close()
