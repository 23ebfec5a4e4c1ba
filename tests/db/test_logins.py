"""Login sessions: hashed, revocable, with an idle and an absolute limit."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import select

from cyberlab.db import audit, epoch, logins, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import LoginSession, Role, User, utcnow

IDLE = 3600.0
LIFETIME = 86_400.0


@pytest.fixture
def anna(database: Database, actor: Actor) -> User:
    return database.call(users.create, actor, username="anna", role=Role.TEACHER, display_name="Anna")


def _token(database: Database, user: User) -> str:
    return database.call(logins.create, user.id, address="192.0.2.7", user_agent="x\x00" * 500, lifetime=LIFETIME)


def test_only_the_hash_is_stored(database: Database, anna: User) -> None:
    token = _token(database, anna)
    assert len(token) >= 43
    with database.transaction() as s:
        row = s.scalars(select(LoginSession)).one()
    assert row.token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert len(row.user_agent) == 255
    assert token != _token(database, anna)


def test_a_token_resolves_to_its_user(database: Database, anna: User) -> None:
    login = database.call(logins.resolve, _token(database, anna), utcnow(), IDLE)
    assert login is not None
    assert (login.user_id, login.username, login.display_name, login.role) == (anna.id, "anna", "Anna", Role.TEACHER)


@pytest.mark.parametrize("token", ["", "x", "\udcff", "ü" * 5000])
def test_a_token_that_is_none_resolves_to_nobody(database: Database, anna: User, token: str) -> None:
    _token(database, anna)
    assert database.call(logins.resolve, token, utcnow(), IDLE) is None


def test_limits(database: Database, anna: User) -> None:
    token = _token(database, anna)
    now = utcnow()
    assert database.call(logins.find, token, now + timedelta(seconds=IDLE - 5), IDLE) is not None
    assert database.call(logins.find, token, now + timedelta(seconds=IDLE + 5), IDLE) is None
    assert database.call(logins.find, token, now + timedelta(seconds=LIFETIME - 5), 10 * LIFETIME) is not None
    assert database.call(logins.find, token, now + timedelta(seconds=LIFETIME + 5), 10 * LIFETIME) is None


def test_use_is_noted_at_most_once_a_minute(database: Database, anna: User) -> None:
    token = _token(database, anna)
    now = utcnow()

    def seen() -> float:
        with database.transaction() as s:
            return (s.scalars(select(LoginSession.seen_at)).one() - now).total_seconds()

    database.call(logins.resolve, token, now + timedelta(seconds=50), IDLE)
    assert seen() < 5
    database.call(logins.resolve, token, now + timedelta(seconds=70), IDLE)
    assert seen() == 70
    database.call(logins.resolve, token, now + timedelta(seconds=75), IDLE)
    assert seen() == 70
    # used again and again, it outlives the idle limit
    assert database.call(logins.resolve, token, now + timedelta(seconds=IDLE + 60), IDLE) is not None


def test_a_touch_never_revives_what_was_revoked(database: Database, anna: User) -> None:
    login = database.call(logins.find, _token(database, anna), utcnow(), IDLE)
    assert login is not None
    database.call(logins.revoke, login.session_id)
    database.call(logins.touch, [login.session_id], utcnow() + timedelta(hours=1))
    assert database.call(logins.expiries, [login.session_id]) == {}


def test_revoke_ends_one_and_revoke_all_the_rest(database: Database, anna: User) -> None:
    tokens = [_token(database, anna) for _ in range(3)]
    found = [database.call(logins.find, token, utcnow(), IDLE) for token in tokens]
    assert found[0] is not None
    database.call(logins.revoke, found[0].session_id)
    database.call(logins.revoke, found[0].session_id)
    alive = [database.call(logins.find, token, utcnow(), IDLE) is not None for token in tokens]
    assert alive == [False, True, True]
    database.call(logins.revoke_all, anna.id)
    assert not any(database.call(logins.find, token, utcnow(), IDLE) for token in tokens)


def test_an_inactive_user_has_no_login(database: Database, anna: User) -> None:
    token = _token(database, anna)
    with database.transaction() as s:
        s.get_one(User, anna.id).active = False
    assert database.call(logins.find, token, utcnow(), IDLE) is None


def test_purge_keeps_what_expired_today(database: Database, anna: User) -> None:
    _token(database, anna)
    now = utcnow()
    for later, left in ((LIFETIME + 3600, 1), (LIFETIME + 90_000, 0)):
        database.call(logins.purge, now + timedelta(seconds=later))
        with database.transaction() as s:
            assert len(s.scalars(select(LoginSession)).all()) == left


def test_the_admins_list_and_an_end(database: Database, actor: Actor) -> None:
    ids = {}
    for name in ("ada", "bob", "out"):
        ids[name] = database.call(users.create, actor, username=name, role=Role.STUDENT, email=f"{name}@x.example").id
        database.call(logins.create, ids[name], address=f"192.0.2.{len(ids)}", user_agent="x", lifetime=3600)
    database.call(users.set_active, actor, ids["out"], False)
    now = utcnow()
    found = database.call(logins.page, now, 3600.0)
    assert (found.total, [row.user.username for row in found.rows]) == (2, ["bob", "ada"])
    assert [row.user.username for row in database.call(logins.page, now, 3600.0, search="ADA@x").rows] == ["ada"]
    assert [row.user.username for row in database.call(logins.page, now, 3600.0, search="192.0.2.2").rows] == ["bob"]
    assert database.call(logins.page, now + timedelta(hours=2), 9999.0).total == 0
    assert database.call(logins.page, now + timedelta(minutes=2), 60.0).total == 0
    before = database.call(epoch.current)
    assert database.call(logins.end, actor, found.rows[0].id) == ids["bob"]
    assert database.call(logins.end, actor, found.rows[0].id) is None
    assert database.call(epoch.current) > before
    assert database.call(logins.page, now, 3600.0).total == 1
    assert database.call(audit.page).rows[0].action == "login.ended"
