"""Users: one spelling per name, one admin at least, an audit row for every change."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from cyberlab.db import audit, consoles, groups, logins, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import ConsoleSession, LoginSession, Membership, Role, User, utcnow


def _create(database: Database, actor: Actor, name: str, role: Role = Role.STUDENT, **more: str) -> User:
    return database.call(users.create, actor, username=name, role=role, **more)  # type: ignore[arg-type]


def _actions(database: Database) -> list[str]:
    return [row.action for row in database.call(audit.page, limit=200).rows]


@pytest.mark.parametrize("spelling", ["anna", "ANNA", " Anna ", "ａｎｎａ"])
def test_a_name_is_one_user_in_any_spelling(database: Database, actor: Actor, spelling: str) -> None:
    anna = _create(database, actor, "Anna")
    assert anna.username == "anna"
    found = database.call(users.by_name, spelling)
    assert found is not None
    assert found.id == anna.id
    with pytest.raises(Conflict) as caught:
        _create(database, actor, spelling)
    assert caught.value.field == "username"


def test_the_database_itself_refuses_a_second_row(database: Database, actor: Actor) -> None:
    _create(database, actor, "anna")
    with pytest.raises(IntegrityError), database.transaction() as s:
        s.add(User(backend="local", username="anna"))


def test_another_backend_may_have_the_same_name(database: Database, actor: Actor) -> None:
    local = _create(database, actor, "anna")
    campus = _create(database, actor, "anna", backend="campus-ldap")
    assert local.id != campus.id
    assert database.call(users.backends_of, "Anna") == {"local", "campus-ldap"}
    assert database.call(users.by_name, "anna", "campus-ldap").id == campus.id  # type: ignore[union-attr]


def test_of_several_who_take_a_name_at_once_one_gets_it(database: Database, actor: Actor) -> None:
    gate = threading.Barrier(4)

    def create(name: str) -> bool:
        gate.wait(10)
        try:
            _create(database, actor, name)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        for name in ("anna", "bert", "carl"):
            assert sorted(pool.map(create, [name] * 4)) == [False, False, False, True]
    assert _actions(database) == ["user.create"] * 3


@pytest.mark.parametrize("name", ["", "  ", "two words", "a\x00b", "a\nb", "x" * 256, "\udcff"])
def test_a_name_that_is_none_is_refused(database: Database, actor: Actor, name: str) -> None:
    with pytest.raises(Conflict) as caught:
        _create(database, actor, name)
    assert caught.value.field == "username"


@pytest.mark.parametrize("name", ["", "a\x00b", "\udcff", "x" * 100_000])
def test_looking_for_a_name_that_is_none_finds_nobody(database: Database, name: str) -> None:
    assert database.call(users.by_name, name) is None
    assert database.call(users.backends_of, name) == set()
    assert database.call(users.page, search=name).total == 0


@pytest.mark.parametrize("email", ["anna", "@", "a b@example.edu", "x" * 320 + "@example.edu"])
def test_a_mail_address_that_is_none_is_refused(database: Database, actor: Actor, email: str) -> None:
    with pytest.raises(Conflict) as caught:
        _create(database, actor, "anna", email=email)
    assert caught.value.field == "email"


@pytest.mark.parametrize("user_id", [0, -1, 99, 2**31, 2**63, 10**30])
def test_an_id_that_is_none_is_not_found(database: Database, actor: Actor, user_id: int) -> None:
    assert database.call(users.get, user_id) is None
    with pytest.raises(NotFound):
        database.call(users.set_active, actor, user_id, False)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", ["anna", "bjorn", "percent%", "under_score"]),
        ("ANN", ["anna"]),
        ("strasse", ["anna"]),  # ß folds to ss
        ("Åse", ["bjorn"]),
        ("åSE", ["bjorn"]),
        ("ase ODEGARD", ["bjorn"]),  # every word, without accents
        ("ase anna", []),
        ("%", ["percent%"]),
        ("_", ["under_score"]),
        ("r_s", ["under_score"]),
        ("example.edu", ["anna"]),
        ("\\", []),
        ("/", []),
    ],
)
def test_search(database: Database, actor: Actor, search: str, found: list[str]) -> None:
    _create(database, actor, "anna", display_name="Anna Straße", email="anna@example.edu")
    _create(database, actor, "bjorn", display_name="Åse Ødegård Ø".replace("Ø", "O"))
    _create(database, actor, "percent%")
    _create(database, actor, "under_score")
    page = database.call(users.page, search=search)
    assert [user.username for user in page.rows] == found
    assert page.total == len(found)


def test_search_follows_an_edit(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna", display_name="Anna Vogel")
    database.call(users.update, actor, anna.id, display_name="Anna Falke", email="a@example.edu", role=Role.TEACHER)
    assert database.call(users.page, search="vogel").total == 0
    assert database.call(users.page, search="falke example").rows[0].role == Role.TEACHER


def test_pages(database: Database, actor: Actor) -> None:
    for number in range(7):
        _create(database, actor, f"user{number}", Role.TEACHER if number == 3 else Role.STUDENT)
    page = database.call(users.page, offset=5, limit=5)
    assert [user.username for user in page.rows] == ["user5", "user6"]
    assert (page.total, page.offset, page.limit) == (7, 5, 5)
    assert [user.username for user in database.call(users.page, role=Role.TEACHER).rows] == ["user3"]
    assert database.call(users.page, offset=10**30).rows == []
    assert len(database.call(users.page, offset=-5, limit=0).rows) == 1


def test_every_change_is_in_the_audit(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna")
    database.call(users.update, actor, anna.id, display_name="A", email=None, role=Role.TEACHER)
    database.call(users.set_password, actor, anna.id, "$2b$04$" + "x" * 53)
    database.call(users.set_active, actor, anna.id, False)
    database.call(users.set_active, actor, anna.id, True)
    database.call(users.delete, actor, anna.id)
    assert _actions(database) == [
        "user.delete",
        "user.enable",
        "user.disable",
        "user.password",
        "user.update",
        "user.create",
    ]
    row = database.call(audit.page).rows[-2]
    assert (row.actor, row.address, row.object) == ("test", "192.0.2.1", "user anna")
    assert row.detail == "role student -> teacher"
    assert not [row for row in database.call(audit.page).rows if "$2b$" in row.detail]


def test_the_last_active_admin_stays(database: Database, actor: Actor) -> None:
    boss = _create(database, actor, "boss", Role.ADMIN)
    off = _create(database, actor, "off", Role.ADMIN)
    database.call(users.set_active, actor, off.id, False)
    assert database.call(users.count_active_admins) == 1
    changes = {"display_name": "", "email": None, "role": Role.TEACHER}
    for attempt in (
        lambda: database.call(users.set_active, actor, boss.id, False),
        lambda: database.call(users.update, actor, boss.id, **changes),
        lambda: database.call(users.delete, actor, boss.id),
    ):
        with pytest.raises(Conflict, match="last active admin"):
            attempt()
    database.call(users.set_active, actor, off.id, True)
    database.call(users.set_active, actor, boss.id, False)
    assert database.call(users.count_active_admins) == 1


def test_two_admins_cannot_disable_each_other_at_once(database: Database, actor: Actor) -> None:
    pairs = [
        (_create(database, actor, f"a{n}", Role.ADMIN), _create(database, actor, f"b{n}", Role.ADMIN)) for n in (1, 2)
    ]
    everyone = [user.id for pair in pairs for user in pair]
    gate = threading.Barrier(len(everyone))

    def disable(user_id: int) -> bool:
        gate.wait(10)
        try:
            database.call(users.set_active, actor, user_id, False)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(len(everyone)) as pool:
        done = list(pool.map(disable, everyone))
    assert sorted(done) == [False, True, True, True]
    assert database.call(users.count_active_admins) == 1


def test_disabling_and_a_new_password_end_login_sessions(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna")
    bert = _create(database, actor, "bert")
    for change in (
        lambda: database.call(users.set_active, actor, anna.id, False),
        lambda: database.call(users.set_password, actor, anna.id, "$2b$04$" + "x" * 53),
    ):
        for user in (anna, bert):
            database.call(logins.create, user.id, address="", user_agent="", lifetime=60)
        change()
        with database.transaction() as s:
            assert set(s.scalars(select(LoginSession.user_id))) == {bert.id}


def test_a_password_kept_elsewhere_cannot_be_set_here(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna", backend="campus-ldap")
    with pytest.raises(Conflict, match="kept by campus-ldap"):
        database.call(users.set_password, actor, anna.id, "$2b$04$" + "x" * 53)


def test_a_deleted_user_takes_rights_along_and_leaves_history(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna")
    vm = database.call(vms.create, actor, cluster="pve", vmid=100, node="pve1", name="kali")
    group = database.call(groups.create, actor, name="NetSec")
    database.call(groups.add_member, actor, group.id, anna.id)
    database.call(logins.create, anna.id, address="", user_agent="", lifetime=60)
    database.call(
        consoles.opened, user_id=anna.id, vm_id=vm.id, username="anna", vm_label=vm.label, address="192.0.2.7"
    )
    database.call(audit.record, Actor(anna.id, "anna"), "login.success")
    database.call(users.delete, actor, anna.id)
    with database.transaction() as s:
        assert s.scalars(select(LoginSession)).all() == []
        assert s.scalars(select(Membership)).all() == []
        console = s.scalars(select(ConsoleSession)).one()
        assert (console.user_id, console.username, console.vm_label) == (None, "anna", "pve/100 kali")
    assert ("anna", None) in {(row.actor, row.actor_id) for row in database.call(audit.page).rows}


def test_ids_are_not_reused(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna")
    database.call(users.delete, actor, anna.id)
    assert _create(database, actor, "bert").id != anna.id


def test_a_first_sign_in_claims_the_name_and_only_the_first(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna", backend="campus-ldap")
    _create(database, actor, "anna")  # the local one is not theirs to claim
    one = database.call(users.claim, backend="campus-ldap", subject="uuid-1", username="Anna")
    assert one is not None
    assert (one.id, one.subject) == (anna.id, "uuid-1")
    renamed = database.call(users.claim, backend="campus-ldap", subject="uuid-1", username="anna.married")
    assert renamed is not None
    assert renamed.id == anna.id
    # The directory has given the name to somebody else: not the former owner's rights.
    assert database.call(users.claim, backend="campus-ldap", subject="uuid-2", username="anna") is None
    assert database.call(users.claim, backend="elsewhere", subject="uuid-1", username="anna") is None


def test_a_lookalike_claims_nothing(database: Database, actor: Actor) -> None:
    """Some backends let people call themselves what they like."""
    admin = _create(database, actor, "admin", backend="uni")
    for name in ("ａdmin", "admⁱn", "ⓐdmin"):
        assert database.call(users.claim, backend="uni", subject="theirs", username=name) is None
    claimed = database.call(users.claim, backend="uni", subject="own", username="ADMIN")
    assert claimed is not None
    assert claimed.id == admin.id


def test_a_renewed_hash_does_not_overwrite_a_new_password(database: Database, actor: Actor) -> None:
    anna = _create(database, actor, "anna", password_hash="old")
    database.call(users.set_password, actor, anna.id, "new")
    database.call(users.replace_hash, anna.id, "old", "old-at-another-cost")
    assert database.call(users.get, anna.id).password_hash == "new"  # type: ignore[union-attr]


def test_created_at_is_now_and_aware(database: Database, actor: Actor) -> None:
    before = utcnow()
    assert before <= _create(database, actor, "anna").created_at <= utcnow()
