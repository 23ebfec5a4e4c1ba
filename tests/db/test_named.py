"""Users as somebody typed them."""

from __future__ import annotations

import pytest

from cyberlab.db import named, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Role


def test_a_pasted_list_is_taken_apart() -> None:
    assert named.split(" anna, bert;\r\n<carl@example.edu>\tanna\n\n,;") == ["anna", "bert", "carl@example.edu"]
    assert named.split(" \n ,;") == []


@pytest.fixture
def filled(database: Database, actor: Actor) -> Database:
    for backend, name, mail in (
        ("local", "anna", "anna@example.edu"),
        ("ldap", "bert", "b.ert@example.edu"),
        ("local", "carl", None),
        ("ldap", "carl", None),
        ("ldap", "dora/x", None),
        ("ldap", "emil", "shared@example.edu"),
        ("local", "emma", "Shared@example.edu"),
    ):
        database.call(users.create, actor, username=name, role=Role.STUDENT, backend=backend, email=mail)
    return database


@pytest.mark.parametrize(
    ("typed", "who"),
    [
        ("ANNA", "local/anna"),
        ("ａｎｎａ", "local/anna"),
        ("bert", "ldap/bert"),
        ("ldap/carl", "ldap/carl"),
        ("dora/x", "ldap/dora/x"),
        ("b.ert@example.edu", "ldap/bert"),
    ],
)
def test_who_is_meant(filled: Database, typed: str, who: str) -> None:
    found, problems = filled.call(named.people, [typed])
    assert [f"{user.backend}/{user.username}" for user in found] == [who]
    assert not problems


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("nobody", "nobody here"),
        ("ldap/nobody", "nobody here"),
        ("<script>", "nobody here"),
        ("x\0y", "nobody here"),
        ("carl", "ldap/carl, local/carl"),
        ("shared@example.edu", "several"),
    ],
)
def test_who_is_not(filled: Database, typed: str, words: str) -> None:
    found, problems = filled.call(named.people, [typed])
    assert not found
    assert words in problems[typed]


def test_more_than_a_statement_holds(filled: Database) -> None:
    found, problems = filled.call(named.people, ["anna", *(f"nobody{number}" for number in range(1500))])
    assert [user.username for user in found] == ["anna"]
    assert len(problems) == 1500
