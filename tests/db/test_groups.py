"""Classes and who is in them."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from cyberlab.db import groups, users
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Membership, MembershipRole, Role


def test_create_and_find(database: Database, actor: Actor) -> None:
    group = database.call(groups.create, actor, name=" Network security ")
    assert database.call(groups.get, group.id).name == "Network security"  # type: ignore[union-attr]
    assert [row.id for row in database.call(groups.page, search="SECURITY").rows] == [group.id]
    for name in ("", "Network security"):
        with pytest.raises(Conflict) as caught:
            database.call(groups.create, actor, name=name)
        assert caught.value.field == "name"


def test_members(database: Database, actor: Actor) -> None:
    group = database.call(groups.create, actor, name="NetSec")
    anna = database.call(users.create, actor, username="anna", role=Role.STUDENT)
    database.call(groups.add_member, actor, group.id, anna.id)
    database.call(groups.add_member, actor, group.id, anna.id, MembershipRole.TEACHER)
    with database.transaction() as s:
        assert s.scalars(select(Membership.role)).one() == MembershipRole.TEACHER
    database.call(groups.remove_member, actor, group.id, anna.id)
    database.call(groups.remove_member, actor, group.id, anna.id)
    with database.transaction() as s:
        assert s.scalars(select(Membership)).all() == []
    for ids in ((group.id, 999), (999, anna.id)):
        with pytest.raises(NotFound):
            database.call(groups.add_member, actor, *ids)
