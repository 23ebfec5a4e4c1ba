"""Who is in a class."""

from __future__ import annotations

import pytest

from cyberlab.db import groups, members, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import NotFound
from cyberlab.db.models import Group, MembershipRole, Role, User


@pytest.fixture
def people(database: Database, actor: Actor) -> dict[str, User]:
    names = ("anna", "bert", "carl")
    return {name: database.call(users.create, actor, username=name, role=Role.STUDENT) for name in names}


@pytest.fixture
def group(database: Database, actor: Actor) -> Group:
    return database.call(groups.create, actor, name="NetSec")


def test_many_at_once(database: Database, actor: Actor, group: Group, people: dict[str, User]) -> None:
    some = [people["bert"], people["anna"], people["bert"]]
    assert database.call(members.add_many, actor, group.id, some, MembershipRole.STUDENT) == 2
    assert database.call(members.add_many, actor, group.id, some, MembershipRole.STUDENT) == 0
    assert database.call(members.add_many, actor, group.id, [people["bert"]], MembershipRole.TEACHER) == 1
    page = database.call(members.page, group.id)
    assert [(row.user.username, row.role.value) for row in page.rows] == [("bert", "teacher"), ("anna", "student")]
    assert database.call(members.page, group.id, search="ann").total == 1
    assert [user.username for user in database.call(members.students, group.id)] == ["anna"]
    with pytest.raises(NotFound):
        database.call(members.add_many, actor, 999, some, MembershipRole.STUDENT)


def test_removing_those_that_are_in_it(database: Database, actor: Actor, group: Group, people: dict[str, User]) -> None:
    database.call(members.add_many, actor, group.id, [people["anna"], people["bert"]], MembershipRole.STUDENT)
    ids = {people["anna"].id, people["carl"].id, 999, -1, 2**40}
    assert [row.user.username for row in database.call(members.some, group.id, ids)] == ["anna"]
    assert database.call(members.remove_many, actor, group.id, ids) == 1
    assert [row.user.username for row in database.call(members.page, group.id).rows] == ["bert"]


def test_classes_of_somebody(database: Database, actor: Actor, group: Group, people: dict[str, User]) -> None:
    old = database.call(groups.create, actor, name="A class of last year")
    for each in (group, old):
        database.call(groups.add_member, actor, each.id, people["anna"].id)
    database.call(groups.archive, actor, old.id)
    found = database.call(members.classes_of, people["anna"].id)
    assert [(row.name, role.value) for row, role in found] == [
        ("NetSec", "student"),
        ("A class of last year", "student"),
    ]
