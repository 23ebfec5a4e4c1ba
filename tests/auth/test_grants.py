"""Whether what somebody was let do still is theirs to do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from cyberlab.auth import grants
from cyberlab.auth.access import Action
from cyberlab.auth.grants import Grant
from cyberlab.db import assignments, groups, tokens, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import MembershipRole, Role, utcnow
from cyberlab.db.tokens import Scope

HOUR = timedelta(hours=1)


class Lab:
    """Anna's machine for the sake of her class, which Carla teaches."""

    def __init__(self, database: Database, actor: Actor) -> None:
        self.database, self.actor, self.now = database, actor, utcnow()
        self.anna = database.call(users.create, actor, username="anna", role=Role.STUDENT).id
        self.carla = database.call(users.create, actor, username="carla", role=Role.TEACHER).id
        self.group = database.call(groups.create, actor, name="NetSec").id
        database.call(groups.add_member, actor, self.group, self.anna)
        database.call(groups.add_member, actor, self.group, self.carla, MembershipRole.TEACHER)
        self.vm = database.call(vms.create, actor, cluster="pve", vmid=100, node="pve1").id
        self.row = database.call(
            assignments.create, actor, vm_id=self.vm, user_id=self.anna, via_group_id=self.group, can_power=True
        ).id

    def ends(self, at: datetime) -> None:
        times: dict[str, Any] = {"starts_at": self.now - HOUR, "ends_at": at}
        self.database.call(assignments.update, self.actor, self.row, **times, can_power=True, can_reset=False)

    def admin(self) -> int:
        return self.database.call(users.create, self.actor, username="root", role=Role.ADMIN).id

    def holds(
        self, user_id: int | None, action: Action, *, asked_at: datetime | None = None, vm: int = 0, **more: int
    ) -> bool:
        grant = Grant(Actor(user_id, "somebody"), action, **more)
        return self.database.call(grants.holds, grant, vm or self.vm, asked_at or self.now, utcnow())


@pytest.fixture
def lab(database: Database, actor: Actor) -> Lab:
    return Lab(database, actor)


@pytest.mark.parametrize(
    ("action", "students", "teachers", "admins"),
    [
        (Action.POWER, True, True, True),
        (Action.RESET, False, True, True),
        (Action.CHOOSE_SNAPSHOT, False, True, True),
        (Action.ADMINISTER, False, False, True),
    ],
)
def test_it_is_asked_as_what_was_granted(
    lab: Lab, action: Action, students: bool, teachers: bool, admins: bool
) -> None:
    people = (lab.anna, lab.carla, lab.admin())
    assert [lab.holds(user_id, action) for user_id in people] == [students, teachers, admins]


def test_of_one_machine_the_present_counts(lab: Lab) -> None:
    lab.ends(utcnow())
    assert not lab.holds(lab.anna, Action.POWER, asked_at=lab.now - HOUR / 2)
    assert not lab.holds(lab.carla, Action.CHOOSE_SNAPSHOT, asked_at=lab.now - HOUR / 2)


def test_of_a_class_the_time_of_asking_counts(lab: Lab) -> None:
    def holds(asked_at: datetime, vm: int = 0) -> bool:
        return lab.holds(lab.carla, Action.RUN_CLASS, asked_at=asked_at, vm=vm, group_id=lab.group)

    lab.ends(lab.now)
    assert holds(lab.now - HOUR / 2)
    assert not holds(lab.now), "an end is excluded"
    assert not holds(lab.now - 2 * HOUR), "before it began"
    elsewhere = lab.database.call(vms.create, lab.actor, cluster="pve", vmid=101, node="pve1").id
    assert not holds(lab.now - HOUR / 2, vm=elsewhere)


def test_of_a_class_its_teacher_of_now_counts(lab: Lab) -> None:
    def holds(user_id: int, group_id: int = lab.group) -> bool:
        return lab.holds(user_id, Action.RUN_CLASS, group_id=group_id)

    other = lab.database.call(groups.create, lab.actor, name="Forensics").id
    lab.database.call(groups.add_member, lab.actor, other, lab.carla, MembershipRole.TEACHER)
    assert [holds(lab.carla), holds(lab.admin()), holds(lab.anna)] == [True, True, False]
    assert not holds(lab.carla, other), "it is not that class's"
    lab.database.call(groups.remove_member, lab.actor, lab.group, lab.carla)
    assert not holds(lab.carla)


def test_who_is_disabled_or_gone_has_no_right(lab: Lab) -> None:
    lab.database.call(users.set_active, lab.actor, lab.anna, False)
    assert not lab.holds(lab.anna, Action.POWER)
    assert not lab.holds(999, Action.POWER)
    assert not lab.holds(None, Action.POWER)


def test_a_token_that_is_removed_or_has_expired_takes_the_right_along(lab: Lab) -> None:
    def token(expires_at: datetime | None) -> int:
        more: dict[str, Any] = {"name": "x", "scopes": [Scope.POWER], "expires_at": expires_at}
        return lab.database.call(tokens.create, lab.actor, lab.anna, **more)[0].id

    lasting = token(None)
    known = (lasting, token(utcnow() + HOUR), token(utcnow()))
    assert [lab.holds(lab.anna, Action.POWER, token_id=one) for one in known] == [True, True, False]
    lab.database.call(tokens.remove, lab.actor, lab.anna, lasting)
    assert not lab.holds(lab.anna, Action.POWER, token_id=lasting)
    assert lab.holds(lab.anna, Action.POWER), "a page needs none"
