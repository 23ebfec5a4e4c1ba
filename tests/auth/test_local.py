"""Local accounts: every wrong name costs the same hash as a wrong password."""

from __future__ import annotations

import pytest

from cyberlab.auth import passwords
from cyberlab.auth.base import PasswordBackend
from cyberlab.auth.local import LocalBackend
from cyberlab.db import users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Role

PASSWORD = "correct horse"
COST = 4


@pytest.fixture
def backend(database: Database, actor: Actor) -> LocalBackend:
    hashed = passwords.hash_password(PASSWORD, COST)
    for name, more in (
        ("anna", {"password_hash": hashed, "display_name": "Anna", "email": "anna@example.edu"}),
        ("off", {"password_hash": hashed}),
        ("nopassword", {}),
        ("broken", {"password_hash": "$2b$04$not-a-hash"}),
        ("garbage", {"password_hash": "x"}),
        ("campus", {"password_hash": hashed, "backend": "campus-ldap"}),
    ):
        user = database.call(users.create, actor, username=name, role=Role.STUDENT, **more)  # type: ignore[arg-type]
        if name == "off":
            database.call(users.set_active, actor, user.id, False)
    return LocalBackend(database, COST)


def test_the_right_password_gives_the_identity(backend: LocalBackend) -> None:
    checked: PasswordBackend = backend
    identity = checked.authenticate(" ANNA ", PASSWORD)
    assert identity is not None
    assert (identity.backend, identity.subject, identity.username) == ("local", "1", "anna")
    assert (identity.display_name, identity.email) == ("Anna", "anna@example.edu")


@pytest.mark.parametrize("name", ["anna", "off", "nopassword", "broken", "garbage", "campus", "unknown", "", "\udcff"])
def test_every_failure_verifies_exactly_one_hash(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Counted rather than timed: one bcrypt of the configured cost, whatever was wrong."""
    costs: list[int | None] = []
    verify = passwords.verify

    def counting(password: str, hashed: str) -> bool:
        costs.append(passwords.cost_of(hashed))
        return verify(password, hashed)

    monkeypatch.setattr(passwords, "verify", counting)
    assert backend.authenticate(name, "wrong password") is None
    assert costs == [COST]
    if name != "anna":
        assert backend.authenticate(name, PASSWORD) is None


def test_another_cost_is_renewed_at_sign_in_only(database: Database, backend: LocalBackend) -> None:
    dearer = LocalBackend(database, COST + 1)

    def stored() -> str:
        user = database.call(users.by_name, "anna")
        assert user is not None
        return user.password_hash or ""

    before = stored()
    assert dearer.authenticate("anna", "wrong password") is None
    assert stored() == before
    assert dearer.authenticate("anna", PASSWORD) is not None
    after = stored()
    assert passwords.cost_of(after) == COST + 1
    assert dearer.authenticate("anna", PASSWORD) is not None
    assert stored() == after
