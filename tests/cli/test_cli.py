"""Every command has help, and no failure which is to be expected is a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cyberlab.db.engine import Database
from cyberlab.db.models import User
from tests.cli.conftest import SERVER, Shell, environment

COMMANDS = [
    ["serve"],
    ["demo"],
    ["check"],
    ["migrate"],
    ["user"],
    *(["user", name] for name in ("add", "passwd", "disable", "enable", "list")),
    ["assign"],
    ["unassign"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_every_command_has_help(unmigrated: Shell, command: list[str]) -> None:
    said = unmigrated.done(*command, "--help")
    assert said.startswith(f"usage: {' '.join(['server.py', *command])}")
    assert not unmigrated.file.exists(), "help touches nothing"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["user"], ["user", "add"], ["assign", "anna", "100"]])
def test_wrong_arguments_are_explained(unmigrated: Shell, arguments: list[str]) -> None:
    assert unmigrated.run(*arguments) == 2
    assert "usage: server.py" in unmigrated.err


def test_migrate_makes_the_database_and_says_when_there_is_nothing_to_do(unmigrated: Shell) -> None:
    assert unmigrated.refused("user", "list") == "database is empty: run python server.py migrate"
    assert unmigrated.done("migrate") == "The database is at this version now.\n"
    assert unmigrated.done("migrate") == "The database is at this version already.\n"
    assert unmigrated.done("user", "list") == ""


def test_bad_settings_are_listed_by_name(unmigrated: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCRYPT_COST", "99")
    monkeypatch.setenv("LISTEN_PORT", "99999")
    assert unmigrated.run("user", "list") == 2
    assert sorted(line.partition(":")[0] for line in unmigrated.err.splitlines()) == ["BCRYPT_COST", "LISTEN_PORT"]


def test_serve_lists_settings_and_the_database_at_once(unmigrated: Shell) -> None:
    assert unmigrated.run("serve") == 2
    named = [line.partition(":")[0] for line in unmigrated.err.splitlines()]
    assert named[0] == "SECRET_KEY"
    assert "PROXMOX_HOST" in named
    assert unmigrated.err.splitlines()[-1] == "DATABASE_URL: database is empty: run python server.py migrate"


def test_serve_refuses_an_unmigrated_database_alone(cluster: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "x" * 40)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{cluster.file}.other")
    assert "run python server.py migrate" in cluster.refused("serve", status=2)


def test_a_database_that_cannot_be_opened_is_one_line(unmigrated: Shell) -> None:
    unmigrated.file.parent.write_text("a file where the folder should be")
    for command in (["migrate"], ["user", "list"]):
        assert "cannot be opened: " in unmigrated.refused(*command)
    assert unmigrated.run("serve") == 2
    assert "cannot be opened: " in unmigrated.err.splitlines()[-1]


def test_a_server_that_cannot_be_reached_is_one_line(
    unmigrated: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://anna:s3cret@/x?host={tmp_path}")
    for command in (["migrate"], ["user", "list"]):
        refusal = unmigrated.refused(*command)
        assert refusal.startswith("database cannot be")
        assert "s3cret" not in refusal


def test_a_reader_that_leaves_is_no_error(shell: Shell, database: Database) -> None:
    with database.transaction() as s:
        s.add_all(User(username=f"user{n:05}", display_name="x" * 200) for n in range(2000))
    process = subprocess.Popen(
        [sys.executable, SERVER, "user", "list"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"user00000")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 1
