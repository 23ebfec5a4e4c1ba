"""Databases for tests: a file copied from a migrated one, or a PostgreSQL server of the test run's own."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from cyberlab.db.engine import Database

_number = itertools.count(1)


def migrate(url: str) -> None:
    """Bring an empty database to the newest revision."""
    database = Database(url)
    try:
        database.upgrade()
    finally:
        database.close()


class SqliteTemplate:
    """A migrated file, made once: copying it is much quicker than migrating again."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "template.sqlite3"
        migrate(f"sqlite:///{self._file}")

    def copy(self, folder: Path) -> str:
        """Return the URL of a fresh migrated database in ``folder``."""
        file = folder / f"test{next(_number)}.sqlite3"
        shutil.copy(self._file, file)
        return f"sqlite:///{file}"


class Postgres:
    """A PostgreSQL server on a socket in a folder of its own, without any network port."""

    def __init__(self, programs: str) -> None:
        """``programs``: the folder of initdb and pg_ctl. PostgreSQL refuses root, which becomes ``postgres``."""
        self._programs = Path(programs)
        self._user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        if self._user:
            entry = pwd.getpwnam(self._user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        try:
            self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
            options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
            self._run("pg_ctl", "-l", str(self.folder / "log"), "-o", options, "-w", "-t", "30", "start")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.execute("CREATE DATABASE template")
        migrate(self.url("template"))

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def empty(self) -> str:
        """Return the URL of a fresh database without tables."""
        name = f"test{next(_number)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def copy(self) -> str:
        """Return the URL of a fresh migrated database."""
        name = f"test{next(_number)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template")
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Run one statement outside any transaction."""
        import psycopg

        with psycopg.connect(f"host={self.folder} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def stop(self) -> None:
        """End the server at once and remove its files."""
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file, not a pipe: the server inherits it, and would hold a pipe open for as long as it runs.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self._programs / program), "-D", str(self.folder / "data"), *arguments],
                user=self._user,
                extra_groups=[] if self._user else None,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
            )
            output.seek(0)
            said = output.read().decode(errors="replace")
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{said}")
