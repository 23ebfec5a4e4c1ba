"""From an identity to a login session: mapping, second factors, and the word between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from cyberlab.auth import admission
from cyberlab.auth.admission import LATER, NOT_ALLOWED, NOT_VERIFIED, TOO_LATE
from cyberlab.auth.base import Identity, NeedsEnrolment, NeedsSecondFactor, Outcome, Rejected, SignedIn
from cyberlab.auth.config import AuthConfig, parse
from cyberlab.auth.login import LoginService
from cyberlab.blocking import BlockingPool
from cyberlab.db import audit, devices, factors, throttle, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Group, LoginSession, Membership, Role, User, utcnow
from cyberlab.settings import Settings

WHERE = {"address": "192.0.2.7", "user_agent": "Firefox"}
ANNA = Identity("uni", "iss|1", "anna", "Anna A.", "anna@example.edu", frozenset({"lab", "netsec"}))
Make = Callable[..., LoginService]


def _auth(mapping: dict[str, object] | None = None, **factor: object) -> AuthConfig:
    """Like a file with one backend of a third party."""
    backend = {"name": "uni", "kind": "tests.auth.test_admission:Identity", "mapping": mapping or {}}
    return parse({"backend": [{"name": "local", "kind": "local"}, backend], "second_factor": factor})


@pytest.fixture
def make(database: Database, auth_pool: BlockingPool) -> Make:
    def make(mapping: dict[str, object] | None = None, **factor: object) -> LoginService:
        return LoginService(database, auth_pool, [], Settings(_env_file=None), _auth(mapping, **factor))

    return make


@pytest.fixture
def enrolled(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What everybody has enrolled."""
    held: set[str] = set()
    monkeypatch.setattr(factors, "enrolled", lambda s, user_id: frozenset(held))
    return held


def _actions(database: Database) -> list[str]:
    return [row.action for row in reversed(database.call(audit.page).rows)]


def _signed_in(outcome: Outcome) -> int:
    assert isinstance(outcome, SignedIn)
    return outcome.user_id


def _classes(database: Database) -> set[str]:
    with database.transaction() as s:
        return set(s.scalars(select(Group.name).join(Membership)))


def _sessions(database: Database) -> int:
    with database.transaction() as s:
        return len(s.scalars(select(LoginSession)).all())


@pytest.mark.gen_test
async def test_the_first_sign_in_makes_the_user_and_later_ones_refresh(make: Make, database: Database) -> None:
    service = make({"roles": {"staff": "teacher"}, "classes": {"netsec": "Network Security", "crypto": "Crypto"}})
    user_id = _signed_in(await service.sign_in_identity(ANNA, **WHERE))
    assert _classes(database) == {"Network Security"}
    later = replace(ANNA, display_name="Anna B.", email="b@example.edu", groups=frozenset({"crypto", "staff"}))
    assert _signed_in(await service.sign_in_identity(later, **WHERE)) == user_id
    user = database.call(users.get, user_id)
    assert user is not None
    assert (user.display_name, user.email, user.role) == ("Anna B.", "b@example.edu", Role.TEACHER)
    assert user.external_groups == "crypto\nstaff"
    assert _classes(database) == {"Crypto"}


@pytest.mark.gen_test
async def test_who_leaves_the_required_group_is_out_at_the_next_sign_in(make: Make, database: Database) -> None:
    service = make({"required_groups": ["lab"], "classes": {"netsec": "NetSec"}})
    first = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(first, SignedIn)
    outsider = replace(ANNA, groups=frozenset({"netsec"}))
    assert await service.sign_in_identity(outsider, **WHERE) == NOT_ALLOWED
    assert await service.current(first.token) is None  # also where they were signed in already
    assert _classes(database) == set()
    assert _actions(database)[-1] == "login.refused"
    _signed_in(await service.sign_in_identity(ANNA, **WHERE))
    assert await service.sign_in_identity(Identity("uni", "iss|2", "bert"), **WHERE) == NOT_ALLOWED
    assert database.call(users.by_name, "bert", "uni") is None


@pytest.mark.gen_test
async def test_an_admin_puts_somebody_out_at_once(make: Make, database: Database, actor: Actor) -> None:
    service = make()
    outcome = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(outcome, SignedIn)
    database.call(users.set_active, actor, outcome.user_id, False)
    assert await service.current(outcome.token) is None
    changed = replace(ANNA, display_name="Someone Else")
    assert await service.sign_in_identity(changed, **WHERE) == NOT_ALLOWED
    user = database.call(users.get, outcome.user_id)
    assert user is not None
    assert user.display_name == "Anna A."


@pytest.mark.gen_test
async def test_an_account_made_ahead_is_claimed_by_backend_and_name(
    make: Make, database: Database, actor: Actor
) -> None:
    ahead = database.call(users.create, actor, username="anna", role=Role.TEACHER, backend="uni")
    local = database.call(users.create, actor, username="anna", role=Role.ADMIN)
    service = make({"create_users": False})
    assert _signed_in(await service.sign_in_identity(replace(ANNA, username="Anna"), **WHERE)) == ahead.id
    impostor = replace(ANNA, subject="iss|2")  # the name, given to another person
    assert await service.sign_in_identity(impostor, **WHERE) == NOT_ALLOWED
    user = database.call(users.get, local.id)
    assert user is not None
    assert user.subject is None


@pytest.mark.gen_test
async def test_a_name_given_to_another_person_does_not_come_with_rights(make: Make, database: Database) -> None:
    service = make()
    await service.sign_in_identity(ANNA, **WHERE)
    assert await service.sign_in_identity(replace(ANNA, subject="iss|2"), **WHERE) == NOT_ALLOWED
    assert _actions(database)[-1] == "login.refused"


@pytest.mark.gen_test
async def test_somebody_without_a_subject_is_nobody(make: Make, database: Database) -> None:
    """Else all whom a backend does not tell apart would be one user."""
    assert await make().sign_in_identity(replace(ANNA, subject=""), **WHERE) == NOT_ALLOWED
    assert database.call(users.by_name, "anna", "uni") is None
    assert _actions(database) == ["login.refused"]


@pytest.mark.gen_test
async def test_a_long_subject_is_told_from_another_one(make: Make, database: Database) -> None:
    long = "https://sso.example.edu|" + "x" * 500
    service = make()
    first = _signed_in(await service.sign_in_identity(replace(ANNA, subject=long + "1"), **WHERE))
    bert = Identity("uni", long + "2", "bert")
    assert _signed_in(await service.sign_in_identity(bert, **WHERE)) != first
    assert _signed_in(await service.sign_in_identity(replace(ANNA, subject=long + "1"), **WHERE)) == first


@pytest.mark.parametrize(
    ("policy", "held", "kind"),
    [
        ("off", set(), SignedIn),
        ("off", {"totp"}, SignedIn),
        ("optional", set(), SignedIn),
        ("optional", {"totp"}, NeedsSecondFactor),
        ("required", set(), NeedsEnrolment),
        ("required", {"totp", "webauthn"}, NeedsSecondFactor),
    ],
)
@pytest.mark.gen_test
async def test_the_policy(
    make: Make, database: Database, enrolled: set[str], policy: str, held: set[str], kind: type[Outcome]
) -> None:
    enrolled |= held
    outcome = await make(student=policy).sign_in_identity(ANNA, **WHERE)
    assert isinstance(outcome, kind)
    if isinstance(outcome, NeedsSecondFactor):
        assert outcome.methods == held
    assert _sessions(database) == (1 if kind is SignedIn else 0)  # between the factors there is none
    assert await make(teacher=policy).sign_in_identity(ANNA, **WHERE) is not None


@pytest.mark.gen_test
async def test_the_second_factor_completes_the_sign_in(make: Make, database: Database, enrolled: set[str]) -> None:
    enrolled.add("totp")
    service = make()
    outcome = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(outcome, NeedsSecondFactor)
    pending = outcome.pending
    for factor in ("webauthn", LATER, "", "anything"):
        assert await service.complete(pending, factor=factor, **WHERE) == NOT_VERIFIED
    done = await service.complete(pending, factor="totp", **WHERE)
    assert isinstance(done, SignedIn)
    assert done.device == ""
    login = await service.current(done.token)
    assert login is not None
    assert login.username == "anna"
    row = database.call(audit.page).rows[0]
    assert (row.action, row.detail) == ("login.success", "second factor: totp")
    assert isinstance(await service.complete(pending, factor="recovery", **WHERE), SignedIn)


@pytest.mark.gen_test
async def test_a_pending_sign_in_ends(make: Make, database: Database, actor: Actor, enrolled: set[str]) -> None:
    enrolled.add("totp")
    service = make()
    outcome = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(outcome, NeedsSecondFactor)
    pending = outcome.pending
    for bad in (
        replace(pending, issued=time.time() - 301),
        replace(pending, issued=time.time() + 60),
        replace(pending, user_id=999),
        replace(pending, backend="local"),
    ):
        assert await service.complete(bad, factor="totp", **WHERE) == TOO_LATE
    database.call(users.set_active, actor, pending.user_id, False)
    assert await service.complete(pending, factor="totp", **WHERE) == TOO_LATE
    assert _sessions(database) == 0


@pytest.mark.gen_test
async def test_grace_begins_with_the_first_sign_in_that_asks(
    make: Make, database: Database, enrolled: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make(student="required", grace_days=7)
    first = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(first, NeedsEnrolment)
    assert first.grace_until is not None
    assert isinstance(await service.complete(first.pending, factor=LATER, **WHERE), SignedIn)
    again = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(again, NeedsEnrolment)
    assert again.grace_until == first.grace_until
    with database.transaction() as s:
        s.get_one(User, first.pending.user_id).factor_grace_until = utcnow() - timedelta(seconds=1)
    over = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(over, NeedsEnrolment)
    assert over.grace_until is None
    assert await service.complete(over.pending, factor=LATER, **WHERE) == NOT_VERIFIED
    enrolled.add("totp")
    assert isinstance(await service.complete(over.pending, factor="totp", **WHERE), SignedIn)


@pytest.mark.gen_test
async def test_without_grace_nothing_can_be_put_off(make: Make, enrolled: set[str]) -> None:
    service = make(student="required")
    outcome = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(outcome, NeedsEnrolment)
    assert outcome.grace_until is None
    assert await service.complete(outcome.pending, factor=LATER, **WHERE) == NOT_VERIFIED


@pytest.mark.gen_test
async def test_a_remembered_device_is_not_asked(
    make: Make, enrolled: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolled.add("totp")
    monkeypatch.setattr(devices, "create", lambda s, user_id, *, name, lifetime: f"{user_id} {name} {lifetime:.0f}")
    monkeypatch.setattr(devices, "use", lambda s, user_id, token, now: token == f"{user_id} Firefox 2592000")
    service = make()
    outcome = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(outcome, NeedsSecondFactor)
    done = await service.complete(outcome.pending, factor="totp", remember=True, **WHERE)
    assert isinstance(done, SignedIn)
    assert done.device
    assert isinstance(await service.sign_in_identity(ANNA, device=done.device, **WHERE), SignedIn)
    assert isinstance(await service.sign_in_identity(ANNA, device="other", **WHERE), NeedsSecondFactor)
    never = make(remember_days=0)
    assert isinstance(await never.sign_in_identity(ANNA, device=done.device, **WHERE), NeedsSecondFactor)
    forgotten = await never.complete(outcome.pending, factor="totp", remember=True, **WHERE)
    assert isinstance(forgotten, SignedIn)
    assert forgotten.device == ""


@pytest.mark.gen_test
async def test_second_factors_are_throttled(make: Make, database: Database, enrolled: set[str]) -> None:
    enrolled.add("totp")
    service = make()
    outcome = await service.sign_in_identity(ANNA, **WHERE)
    assert isinstance(outcome, NeedsSecondFactor)
    for _ in range(throttle.ACCOUNT.free + 1):
        attempt = await service.factor_attempt(outcome.pending, address="192.0.2.7")
        assert attempt.wait == 0
        await service.factor_failed(outcome.pending, attempt, factor="totp", address="192.0.2.7")
    assert (await service.factor_attempt(outcome.pending, address="192.0.2.7")).wait > 0
    assert _actions(database)[-2:] == ["login.factor-failure", "login.lock"]
    with database.transaction() as s:
        throttle.unlock(s, Actor(None, "test"), "anna")
    attempt = await service.factor_attempt(outcome.pending, address="192.0.2.7")
    done = await service.complete(outcome.pending, factor="totp", attempt=attempt, **WHERE)
    assert isinstance(done, SignedIn)


def test_every_message_is_a_sentence() -> None:
    said = [*admission.ACCOUNT_MESSAGES.values(), *(item.message for item in (NOT_ALLOWED, TOO_LATE, NOT_VERIFIED))]
    assert all(words[0].isupper() and words.endswith(".") for words in said)
    assert isinstance(NOT_ALLOWED, Rejected)
