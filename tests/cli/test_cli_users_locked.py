"""user unlock, user reset-factors, and accounts of other backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyberlab.db import audit, throttle, users
from cyberlab.db.engine import Database
from cyberlab.db.models import Role, TotpDevice, utcnow
from tests.cli.conftest import Shell, user_named

ADDRESS = "198.51.100.9"


def _lock(database: Database, name: str | int) -> None:
    for _ in range(throttle.ACCOUNT.free + 1):
        assert database.call(throttle.begin, name, ADDRESS, utcnow()).wait == 0
    assert database.call(throttle.begin, name, ADDRESS, utcnow()).wait > 0


def test_a_locked_out_admin_is_let_in(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna", "--role", "admin")
    assert shell.done("user", "unlock", "anna") == "anna was not locked.\n"
    _lock(database, "anna")
    assert shell.done("user", "unlock", "ANNA") == "Unlocked ANNA.\n"
    assert database.call(throttle.begin, "anna", ADDRESS, utcnow()).wait == 0
    row = database.call(audit.page).rows[0]
    assert (row.action, row.object) == ("user.unlock", "user anna")
    assert row.actor.startswith("cli ")


def test_a_name_that_nobody_has_yet_is_unlocked_too(shell: Shell, database: Database) -> None:
    _lock(database, "newcomer")
    assert "Nobody here is called newcomer (yet)" in shell.done("user", "unlock", "newcomer")
    assert database.call(throttle.begin, "newcomer", ADDRESS, utcnow()).wait == 0


def test_reset_factors(shell: Shell, database: Database) -> None:
    shell.done("user", "add", "anna")
    assert shell.done("user", "reset-factors", "anna") == "anna had no second factor.\n"
    anna = user_named(database, "anna")
    with database.transaction() as s:
        s.add(TotpDevice(user_id=anna.id, secret="sealed", confirmed_at=utcnow()))
    _lock(database, anna.id)
    assert shell.done("user", "reset-factors", "anna") == "Removed the second factors of anna.\n"
    assert shell.done("user", "reset-factors", "anna") == "anna had no second factor.\n"
    assert database.call(throttle.begin, anna.id, ADDRESS, utcnow()).wait == 0
    assert "no user “bert”" in shell.refused("user", "reset-factors", "bert")
    assert "no user “anna” of campus" in shell.refused("user", "reset-factors", "anna", "--backend", "campus")


@pytest.fixture
def campus(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell whose portal knows a backend beside the local one."""
    file = tmp_path / "sign-in.toml"
    file.write_text('[[backend]]\nname = "campus"\nkind = "tests.auth.test_login:Directory"\n')
    monkeypatch.setenv("AUTH_CONFIG", str(file))
    return shell


def test_an_account_is_made_ahead_of_the_first_sign_in(campus: Shell, database: Database) -> None:
    said = campus.done("user", "add", "anna", "--backend", "campus", "--role", "teacher")
    assert said == "Created anna of campus (teacher).\n"
    user = database.call(users.by_name, "anna", "campus")
    assert user is not None
    assert (user.role, user.password_hash, user.subject) == (Role.TEACHER, None, None)
    assert "already is a user" in campus.refused("user", "add", "anna", "--backend", "campus")
    assert "kept by campus" in campus.refused("user", "add", "bert", "--backend", "campus", "--generate")
    assert "no backend “uni”, only campus" in campus.refused("user", "add", "bert", "--backend", "uni")
    assert campus.done("user", "disable", "anna", "--backend", "campus") == "Disabled anna.\n"
    assert campus.done("user", "enable", "anna", "--backend", "campus") == "Enabled anna.\n"


def test_local_accounts_work_whatever_is_wrong_with_the_file(campus: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_CONFIG", "/nowhere/at/all.toml")
    assert "Created anna (student)." in campus.done("user", "add", "anna")
    assert "AUTH_CONFIG: /nowhere/at/all.toml cannot be read" in campus.refused(
        "user", "add", "bert", "--backend", "campus", status=2
    )


def test_serve_lists_what_is_wrong_with_the_file(
    cluster: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "sign-in.toml"
    file.write_text('[[backend]]\nname = "campus"\nkind = "kerberos"\n[second_factor]\nadmin = "always"\n')
    monkeypatch.setenv("AUTH_CONFIG", str(file))
    monkeypatch.setenv("SECRET_KEY", "x" * 40)
    assert cluster.run("serve") == 2
    assert [line.partition(": ")[2].partition(":")[0] for line in cluster.err.splitlines()] == [
        "second_factor.admin",
        "backend.campus.kind",
    ]
