"""The migrations make what the models say, on both databases, there and back."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Engine, inspect

from cyberlab.db import epoch
from cyberlab.db.engine import Database, make_engine
from cyberlab.db.errors import DatabaseUnavailable
from cyberlab.db.models import Base
from tests.databases import Postgres

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'var' / 'empty.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty()


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    opened = Database(empty_url)
    yield opened
    opened.close()


def _engine(url: str) -> Engine:
    return make_engine(url, migrating=True)


def _alembic(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_empty_database_says_so_until_it_is_migrated(empty: Database) -> None:
    assert empty.head_problem() == "database is empty: run python server.py migrate"
    empty.upgrade()
    assert empty.head_problem() is None
    empty.upgrade()  # again: nothing to do
    assert empty.call(epoch.current) == 0


def test_the_migrations_make_what_the_models_say(empty: Database, empty_url: str) -> None:
    empty.upgrade()
    with _engine(empty_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_check_constraints_are_the_models(empty: Database, empty_url: str) -> None:
    """compare_metadata does not look at them; PostgreSQL rewrites their text, so names are compared."""
    empty.upgrade()
    with _engine(empty_url).connect() as connection:
        there = inspect(connection)
        for table in Base.metadata.sorted_tables:
            wanted = {str(item.name) for item in table.constraints if isinstance(item, CheckConstraint)}
            assert {item["name"] for item in there.get_check_constraints(table.name)} == wanted, table.name


def test_check_constraints_allow_what_the_enums_hold(empty: Database, empty_url: str) -> None:
    empty.upgrade()
    with _engine(empty_url).connect() as connection:
        there = inspect(connection)
        for table in Base.metadata.sorted_tables:
            texts = {item["name"]: item["sqltext"] for item in there.get_check_constraints(table.name)}
            for column in table.columns:
                for value in getattr(column.type, "enums", ()):
                    assert f"'{value}'" in texts[f"ck_{table.name}_{column.name}"]


def test_ids_are_never_reused_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    database = Database(url)
    database.upgrade()
    database.close()
    with _engine(url).connect() as connection:
        for table in Base.metadata.sorted_tables:
            made = connection.exec_driver_sql(f"SELECT sql FROM sqlite_master WHERE name = '{table.name}'").scalar_one()
            assert ("AUTOINCREMENT" in made) == table.dialect_options["sqlite"]["autoincrement"], table.name


def test_downgrade_leaves_nothing(empty: Database, empty_url: str) -> None:
    empty.upgrade()
    done = _alembic(empty_url, "downgrade", "base")
    assert done.returncode == 0, done.stderr
    with _engine(empty_url).connect() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    assert empty.head_problem() == "database has not been migrated: run python server.py migrate"


def test_the_alembic_command_upgrades_and_finds_nothing_to_do(empty: Database, empty_url: str) -> None:
    for command in (["upgrade", "head"], ["check"]):
        done = _alembic(empty_url, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert empty.head_problem() is None


def test_a_failed_migration_changes_nothing(
    empty: Database, empty_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text((ROOT / "migrations" / "env.py").read_text())
    good = (ROOT / "migrations" / "versions" / "0001_initial.py").read_text()
    bad = good.replace('    index("audit_events", "action")\n', '    op.execute("SELECT nonsense FROM nowhere")\n')
    assert bad != good
    (folder / "versions" / "0001_initial.py").write_text(bad)
    monkeypatch.setattr("cyberlab.db.engine.MIGRATIONS", folder)
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        empty.upgrade()
    with _engine(empty_url).connect() as connection:
        assert inspect(connection).get_table_names() == []


def test_a_database_from_a_newer_program_is_refused(empty: Database, empty_url: str) -> None:
    empty.upgrade()
    with _engine(empty_url).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999_tomorrow'")
    problem = empty.head_problem()
    assert problem is not None
    assert "newer than this program (revision 9999_tomorrow)" in problem


def test_files_are_private(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'var' / 'cyberlab.sqlite3'}")
    database.upgrade()
    with database.transaction() as s:
        epoch.current(s)  # opens -wal and -shm
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var").iterdir()}
    database.close()
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
    assert modes["cyberlab.sqlite3"] == 0o600
    assert set(modes.values()) == {0o600}


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where the folder should be")
    with pytest.raises(DatabaseUnavailable, match=r"var/x\.sqlite3 cannot be opened"):
        Database(f"sqlite:///{tmp_path / 'var' / 'x.sqlite3'}")


def test_an_unreachable_server_is_named_without_the_password(tmp_path: Path) -> None:
    database = Database(f"postgresql://anna:s3cret@/x?host={tmp_path}")
    problem = database.head_problem()
    with pytest.raises(DatabaseUnavailable) as caught:
        database.upgrade()
    database.close()
    assert problem is not None
    for text in (problem, str(caught.value)):
        assert text.startswith("database cannot be")
        assert "s3cret" not in text


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite3").write_bytes(b"these bytes are not a database, but enough of them to look like one" * 9)
    database = Database(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    assert "file is not a database" in (database.head_problem() or "")
    database.close()


def test_what_a_migration_uses_is_a_plain_engine(tmp_path: Path) -> None:
    """Alembic's batch mode drops and rebuilds tables: with foreign keys on, rows that refer to them would go too."""
    url = f"sqlite:///{tmp_path / 'x.sqlite3'}"
    with make_engine(url, migrating=True).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
    engine = make_engine(url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()
