"""Users as a backend asserts them, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from cyberlab.db import audit, groups, identities, logins, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Group, LoginSession, Membership, MembershipRole, Role, User

CAMPUS = "campus-ldap"


def _create(s: Session, actor: Actor, username: str = "anna", subject: str = "uuid-1", **more: object) -> User | None:
    wanted = {"role": Role.STUDENT, "mapped": True, **more}
    return identities.create(s, actor, backend=CAMPUS, subject=subject, username=username, **wanted)  # type: ignore[arg-type]


def _made(database: Database, actor: Actor, username: str = "anna", subject: str = "uuid-1", **more: object) -> User:
    user = database.call(_create, actor, username, subject, **more)
    assert user is not None
    return user


def _refresh(s: Session, actor: Actor, user_id: int, **more: object) -> None:
    user = s.get(User, user_id)
    assert user is not None
    said = {
        "username": user.username,
        "display_name": "Anna A.",
        "email": "anna@example.edu",
        "external_groups": (),
        "role": None,
    }
    identities.refresh(s, actor, user, **(said | more))  # type: ignore[arg-type]


def _user(database: Database, user_id: int) -> User:
    user = database.call(users.get, user_id)
    assert user is not None
    return user


def _classes(database: Database, user_id: int) -> dict[str, tuple[MembershipRole, str]]:
    with database.transaction(reading=True) as s:
        rows = s.execute(select(Group.name, Membership).join(Membership).where(Membership.user_id == user_id))
        return {name: (row.role, row.granted_by) for name, row in rows}


def _enter(s: Session, actor: Actor, user_id: int, *names: str) -> None:
    user = s.get(User, user_id)
    assert user is not None
    identities.enter_classes(s, actor, user, names)


def _actions(database: Database) -> list[str]:
    return [row.action for row in reversed(database.call(audit.page).rows)]


def test_the_first_sign_in_makes_the_user(database: Database, actor: Actor) -> None:
    made = _made(database, actor, role=Role.TEACHER)
    user = _user(database, made.id)
    assert (user.backend, user.subject, user.role, user.role_mapped) == (CAMPUS, "uuid-1", Role.TEACHER, True)
    assert _actions(database) == ["user.create"]


@pytest.mark.parametrize("name", ["anna", "ANNA", "an na", "", "x" * 300])
def test_a_name_of_somebody_else_makes_nobody(database: Database, actor: Actor, name: str) -> None:
    """The directory has given Anna's name to another person: not her rights."""
    _made(database, actor)
    assert database.call(_create, actor, name, "uuid-2") is None


def test_two_first_sign_ins_at_once_make_one_user(database: Database, actor: Actor) -> None:
    both = Barrier(2)

    def sign_in(_: int) -> int | None:
        both.wait(10)
        user = database.call(_create, actor)
        return user.id if user else None

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(sign_in, range(2))
    assert first == second
    assert first is not None


def test_each_sign_in_refreshes(database: Database, actor: Actor) -> None:
    made = _made(database, actor)
    database.call(_refresh, actor, made.id, external_groups={"b", "a\x00"}, username="Anna2")
    user = _user(database, made.id)
    assert (user.display_name, user.email, user.external_groups) == ("Anna A.", "anna@example.edu", "a\nb")
    assert user.username == "anna2"
    assert "anna2" in user.search_text
    database.call(_refresh, actor, made.id, display_name="", email="nonsense")
    user = _user(database, made.id)
    assert (user.display_name, user.email, user.external_groups) == ("Anna A.", "anna@example.edu", "")


@pytest.mark.parametrize("name", ["bert", "", "a b", "x" * 300])
def test_a_new_name_that_cannot_be_had_leaves_the_old_one(database: Database, actor: Actor, name: str) -> None:
    made = _made(database, actor)
    _made(database, actor, "bert", "uuid-2")
    database.call(_refresh, actor, made.id, username=name)
    assert _user(database, made.id).username == "anna"


def test_a_mapped_role_follows_the_backend_in_both_directions(database: Database, actor: Actor) -> None:
    made = _made(database, actor)
    for role in (Role.TEACHER, Role.STUDENT):
        database.call(_refresh, actor, made.id, role=role)
        assert _user(database, made.id).role == role
    database.call(_refresh, actor, made.id, role=None)
    assert _user(database, made.id).role == Role.STUDENT


def test_a_role_that_an_admin_gave_stands(database: Database, actor: Actor) -> None:
    made = _made(database, actor)
    database.call(users.update, actor, made.id, display_name="", email=None, role=Role.TEACHER)
    database.call(_refresh, actor, made.id, role=Role.STUDENT)
    assert _user(database, made.id).role == Role.TEACHER
    ahead = database.call(users.create, actor, username="carl", role=Role.TEACHER, backend=CAMPUS)
    database.call(_refresh, actor, ahead.id, role=Role.STUDENT)
    assert _user(database, ahead.id).role == Role.TEACHER


def test_an_edit_of_something_else_leaves_the_role_to_the_backend(database: Database, actor: Actor) -> None:
    made = _made(database, actor)
    database.call(users.update, actor, made.id, display_name="A", email=None, role=Role.STUDENT)
    database.call(_refresh, actor, made.id, role=Role.TEACHER)
    assert _user(database, made.id).role == Role.TEACHER


def test_the_last_admin_stays_one(database: Database, actor: Actor) -> None:
    made = _made(database, actor, role=Role.ADMIN)
    database.call(_refresh, actor, made.id, role=Role.STUDENT)
    assert _user(database, made.id).role == Role.ADMIN
    assert _actions(database)[-1] == "user.keep-admin"
    database.call(users.create, actor, username="root", role=Role.ADMIN)
    database.call(_refresh, actor, made.id, role=Role.STUDENT)
    assert _user(database, made.id).role == Role.STUDENT


def test_classes_follow_and_those_by_hand_stay(database: Database, actor: Actor) -> None:
    made = _made(database, actor)
    by_hand = database.call(groups.create, actor, name="By hand")
    database.call(groups.add_member, actor, by_hand.id, made.id)
    database.call(_enter, actor, made.id, "NetSec", "By hand", "")
    assert _classes(database, made.id) == {
        "By hand": (MembershipRole.STUDENT, ""),
        "NetSec": (MembershipRole.STUDENT, CAMPUS),
    }
    database.call(_refresh, actor, made.id, role=Role.TEACHER)
    database.call(_enter, actor, made.id, "NetSec", "Crypto")
    assert _classes(database, made.id) == {
        "By hand": (MembershipRole.STUDENT, ""),
        "NetSec": (MembershipRole.TEACHER, CAMPUS),
        "Crypto": (MembershipRole.TEACHER, CAMPUS),
    }
    before = len(_actions(database))
    database.call(_enter, actor, made.id, "NetSec", "Crypto")
    assert len(_actions(database)) == before
    database.call(_enter, actor, made.id)
    assert _classes(database, made.id) == {"By hand": (MembershipRole.STUDENT, "")}


def test_an_archived_class_takes_nobody_in(database: Database, actor: Actor) -> None:
    made = _made(database, actor)
    group = database.call(groups.create, actor, name="Last year")
    with database.transaction() as s:
        s.get_one(Group, group.id).archived_at = made.created_at
    database.call(_enter, actor, made.id, "Last year")
    assert _classes(database, made.id) == {}


def test_withdraw_ends_login_sessions_and_classes(database: Database, actor: Actor) -> None:
    made = _made(database, actor)
    database.call(_enter, actor, made.id, "NetSec")
    database.call(logins.create, made.id, address="", user_agent="", lifetime=3600)
    with database.transaction() as s:
        identities.withdraw(s, actor, s.get_one(User, made.id))
    assert _classes(database, made.id) == {}
    with database.transaction() as s:
        assert s.scalars(select(LoginSession)).all() == []
