from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cyberlab.db import audit, devices, factors, logins, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Role, TotpDevice, utcnow

PASSKEY: dict[str, Any] = {"name": "key", "public_key": "pk", "sign_count": 1, "transports": "usb"}


@pytest.fixture
def people(database: Database, actor: Actor) -> tuple[int, int]:
    """Two users."""
    names = ("anna", "berta")
    anna, berta = (database.call(users.create, actor, username=name, role=Role.STUDENT).id for name in names)
    return anna, berta


def _app(database: Database, actor: Actor, user_id: int, step: int = 10) -> TotpDevice:
    device = database.call(factors.begin_app, user_id, "sealed")
    database.call(factors.confirm_app, actor, device.id, step, "phone")
    return device


def test_an_app_counts_once_it_is_confirmed(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    anna, berta = people
    first = database.call(factors.begin_app, anna, "sealed")
    assert database.call(factors.begin_app, anna, "another").secret == "sealed"
    assert database.call(factors.enrolled, anna) == frozenset()
    database.call(factors.confirm_app, actor, first.id, 10, "phone")
    assert database.call(factors.enrolled, anna) == {"totp"}
    assert database.call(factors.enrolled, berta) == frozenset()
    with pytest.raises(NotFound):
        database.call(factors.confirm_app, actor, first.id, 11, "phone")
    assert database.call(factors.begin_app, anna, "another").secret == "another"


def test_an_app_that_nobody_confirmed_is_forgotten(database: Database, people: tuple[int, int]) -> None:
    device = database.call(factors.begin_app, people[0], "sealed")
    with database.transaction() as s:
        s.get_one(TotpDevice, device.id).created_at = utcnow() - timedelta(hours=2)
    assert database.call(factors.unconfirmed, people[0]) is None
    assert database.call(factors.begin_app, people[0], "fresh").secret == "fresh"
    assert len(database.call(factors.sealed)) == 1


def test_a_step_is_used_once_and_forwards(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    device = _app(database, actor, people[0])
    answers = [database.call(factors.use_step, device.id, step) for step in (10, 11, 11, 9, 13, 12)]
    assert answers == [False, True, False, False, True, False]


def test_a_recovery_code_is_its_owners_and_used_once(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    anna, berta = people
    _app(database, actor, anna)
    database.call(factors.replace_codes, actor, anna, ["a", "b"])
    assert not database.call(factors.use_code, berta, "a")
    assert [database.call(factors.use_code, anna, "a") for _ in range(2)] == [True, False]
    assert database.call(factors.overview, anna).codes == 1
    database.call(factors.replace_codes, actor, anna, ["c"])
    assert not database.call(factors.use_code, anna, "b")


def test_a_passkey_is_one_users_and_counts(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    anna, berta = people
    database.call(factors.add_passkey, actor, anna, credential_id="id", **PASSKEY)
    with pytest.raises(Conflict, match="in use already"):
        database.call(factors.add_passkey, actor, berta, credential_id="id", **PASSKEY)
    (row,) = database.call(factors.passkeys, anna)
    assert [database.call(factors.use_passkey, row.id, 1, 2) for _ in range(2)] == [True, False]
    with pytest.raises(NotFound):
        database.call(factors.remove_passkey, actor, berta, row.id)
    assert database.call(factors.enrolled, anna) == {"webauthn"}


def test_there_are_not_too_many(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    for number in range(factors.MOST):
        _app(database, actor, people[0])
        database.call(factors.add_passkey, actor, people[0], credential_id=str(number), **PASSKEY)
    with pytest.raises(Conflict):
        _app(database, actor, people[0])
    with pytest.raises(Conflict):
        database.call(factors.add_passkey, actor, people[0], credential_id="more", **PASSKEY)


def test_with_the_last_factor_go_codes_and_devices(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    anna, _ = people
    app = _app(database, actor, anna)
    database.call(factors.add_passkey, actor, anna, credential_id="id", **PASSKEY)
    database.call(factors.replace_codes, actor, anna, ["a"])
    token = database.call(devices.create, anna, name="Firefox", lifetime=60)
    database.call(factors.remove_app, actor, anna, app.id)
    assert database.call(devices.use, anna, token, utcnow())
    (row,) = database.call(factors.passkeys, anna)
    database.call(factors.remove_passkey, actor, anna, row.id)
    assert not database.call(devices.use, anna, token, utcnow())
    assert not database.call(factors.use_code, anna, "a")


def test_a_reset_leaves_nothing_and_signs_out(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    anna, berta = people
    for user_id in people:
        _app(database, actor, user_id)
        database.call(factors.replace_codes, actor, user_id, [f"code{user_id}"])
    device = database.call(devices.create, anna, name="Firefox", lifetime=60)
    login = database.call(logins.create, anna, address="", user_agent="", lifetime=60)
    assert database.call(factors.reset, actor, anna)
    assert not database.call(factors.overview, anna).any
    assert not database.call(factors.use_code, anna, f"code{anna}")
    assert not database.call(devices.use, anna, device, utcnow())
    assert database.call(logins.find, login, utcnow(), 60) is None
    assert database.call(factors.use_code, berta, f"code{berta}")
    assert not database.call(factors.reset, actor, anna)
    with pytest.raises(NotFound):
        database.call(factors.reset, actor, 999)
    assert "factor.reset" in {row.action for row in database.call(audit.page).rows}


def test_a_device_is_its_users_for_its_time(database: Database, actor: Actor, people: tuple[int, int]) -> None:
    anna, berta = people
    token = database.call(devices.create, anna, name="Firefox", lifetime=60)
    now = utcnow()
    assert database.call(devices.use, anna, token, now)
    assert not database.call(devices.use, berta, token, now)
    assert not database.call(devices.use, anna, token, now + timedelta(seconds=61))
    (row,) = database.call(devices.of_user, anna, now)
    assert row.last_used_at == now
    assert not database.call(devices.revoke, actor, berta, row.id)
    assert database.call(devices.revoke, actor, anna, row.id)
    assert not database.call(devices.use, anna, token, now)
    database.call(devices.create, anna, name="", lifetime=60)
    database.call(devices.purge, now + timedelta(days=1))
    assert database.call(devices.revoke_all, anna) == 0
