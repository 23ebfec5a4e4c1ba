from __future__ import annotations

from cyberlab.auth.factors import owner
from cyberlab.auth.vault import Vault
from cyberlab.db import factors
from cyberlab.db.engine import Database
from tests.cli.conftest import Shell

OLD, NEW = "o" * 40, "n" * 40


def _secret(database: Database) -> tuple[int, str]:
    (device,) = database.call(factors.sealed)
    return device.user_id, device.secret


def test_the_secrets_move_to_another_key(shell: Shell) -> None:
    shell.done("user", "add", "anna", "--generate")
    database = Database(f"sqlite:///{shell.file}")
    try:
        database.call(factors.begin_app, 1, Vault([OLD]).seal("JBSWY3DP", owner(1)))
        shell.monkeypatch.setenv("SECRET_KEY", NEW)
        assert shell.run("rekey") == 1
        assert "1 cannot be read" in shell.err
        shell.monkeypatch.setenv("FACTOR_KEYS", f"{NEW},{OLD}")
        assert shell.done("rekey") == "Encrypted 1 secret with the present key.\n"
        user_id, secret = _secret(database)
        assert Vault([NEW]).open(secret, owner(user_id)) == "JBSWY3DP"
        assert shell.done("rekey") == "Encrypted 0 secrets with the present key.\n"
    finally:
        database.close()


def test_without_a_key_there_is_nothing_to_do(shell: Shell) -> None:
    assert "FACTOR_KEYS" in shell.refused("rekey")
