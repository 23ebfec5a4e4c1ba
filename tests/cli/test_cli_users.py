"""user add, passwd, disable, enable, list."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from cyberlab.auth import passwords
from cyberlab.db import audit, epoch, logins, users
from cyberlab.db.engine import Database
from cyberlab.db.models import Role, User, utcnow
from tests.cli.conftest import SERVER, Shell, environment, user_named

PASSWORD = "correct horse"


def test_add_reads_a_password_from_stdin(shell: Shell, database: Database) -> None:
    said = shell.done(
        "user", "add", "Anna", "--role", "teacher", "--display-name", "Anna A.", "--email", "anna@example.edu",
        "--password-stdin", stdin=f"{PASSWORD}\nmore\n",
    )  # fmt: skip
    assert said == "Created anna (teacher).\n"
    anna = user_named(database, "anna")
    assert (anna.role, anna.display_name, anna.email, anna.active) == (
        Role.TEACHER,
        "Anna A.",
        "anna@example.edu",
        True,
    )
    assert passwords.verify(PASSWORD, anna.password_hash or "")
    row = database.call(audit.page).rows[0]
    assert (row.action, row.object, row.actor_id) == ("user.create", "user anna", None)
    assert row.actor.startswith("cli ")


@pytest.mark.parametrize("option", [[], ["--generate"]])
def test_without_a_terminal_a_password_is_made_up_and_told_once(
    shell: Shell, database: Database, option: list[str]
) -> None:
    created, told = shell.done("user", "add", "anna", *option).splitlines()
    assert created == "Created anna (student)."
    password = told.removeprefix("Password: ")
    assert len(password) >= 16
    assert passwords.verify(password, user_named(database, "anna").password_hash or "")


def test_add_refuses(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    assert "already is a user “ANNA”" in shell.refused("user", "add", "ANNA")
    assert "no spaces" in shell.refused("user", "add", "two words")
    assert "no mail address" in shell.refused("user", "add", "bert", "--email", "bert")
    for password, why in (
        ("short", "at least 8"),
        ("password1234", "too easy to guess"),
        ("bertbert", "too easy"),
        ("x" * 73, "at most 72 bytes"),
        ("", "at least 8"),
    ):
        assert why in shell.refused("user", "add", "bert", "--password-stdin", stdin=password)
    assert database.call(users.page).total == 1


def test_passwd_sets_a_password(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    said = shell.done("user", "passwd", "anna", "--password-stdin", stdin=f"{PASSWORD}\r\n")
    assert said == "Set the password of anna; they have to sign in again.\n"
    assert passwords.verify(PASSWORD, user_named(database, "anna").password_hash or "")
    assert "no user “bert”" in shell.refused("user", "passwd", "bert")


def test_sign_out_ends_what_somebody_has_open(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    anna = user_named(database, "anna")
    token = database.call(logins.create, anna.id, address="", user_agent="", lifetime=3600)
    before = database.call(epoch.current)
    assert shell.done("user", "sign-out", "anna") == "Signed anna out everywhere.\n"
    assert database.call(epoch.current) > before  # open consoles are looked at anew
    assert database.call(logins.find, token, utcnow(), 3600.0) is None
    assert user_named(database, "anna").active
    assert "no user “bert” of campus" in shell.refused("user", "sign-out", "bert", "--backend", "campus")


def test_disable_and_enable(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    before = database.call(epoch.current)
    assert shell.done("user", "disable", "anna") == "Disabled anna.\n"
    assert not user_named(database, "anna").active
    assert database.call(epoch.current) > before, "what makes a running server end her consoles"
    assert shell.done("user", "enable", "anna") == "Enabled anna.\n"
    assert user_named(database, "anna").active
    for command in ("disable", "enable"):
        assert "no user “bert”" in shell.refused("user", command, "bert")


def test_the_last_admin_cannot_be_disabled(shell: Shell) -> None:
    shell.done("user", "add", "boss", "--role", "admin")
    assert "last active admin" in shell.refused("user", "disable", "boss")


def test_list_shows_all_of_them(shell: Shell, database: Database) -> None:
    with database.transaction() as s:
        s.add_all(User(username=f"user{n:03}") for n in range(250))
    shell.done("user", "add", "carla", "--role", "teacher", "--display-name", "Carla C.")
    shell.done("user", "disable", "user007")
    lines = shell.done("user", "list").splitlines()
    assert len(lines) == 251
    assert lines[0].split() == ["carla", "teacher", "active", "local", "Carla", "C."]
    assert shell.done("user", "list", "user007").split() == ["user007", "student", "disabled", "local"]
    assert len(shell.done("user", "list", "--role", "teacher").splitlines()) == 1


def _terminal(shell: Shell, typed: list[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; type each answer when its question has come."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, SERVER, *arguments],
        stdin=other, stdout=other, stderr=other, cwd="/", env=environment(), start_new_session=True,
    )  # fmt: skip
    os.close(other)
    seen = ""
    try:
        for question, answer in typed:
            start = len(seen)
            while question not in seen[start:]:
                seen += os.read(main, 4096).decode()
            os.write(main, f"{answer}\n".encode())
        while True:
            try:
                part = os.read(main, 4096).decode()
            except OSError:  # Linux says EIO when the other end is closed
                break
            if not part:
                break
            seen += part
        return process.wait(30), seen
    finally:
        process.kill()
        process.wait()
        os.close(main)


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(shell: Shell, database: Database) -> None:
    answers = [
        ("Password: ", "short"),
        ("Password: ", PASSWORD),
        ("Once more: ", "something else"),
        ("Password: ", PASSWORD),
        ("Once more: ", PASSWORD),
    ]
    status, seen = _terminal(shell, answers, "user", "add", "anna", "--role", "admin")
    assert status == 0, seen
    assert "at least 8 characters" in seen
    assert "the two are not the same" in seen
    assert "Created anna (admin)." in seen
    assert PASSWORD not in seen
    assert passwords.verify(PASSWORD, user_named(database, "anna").password_hash or "")
