"""Who may do what: the whole table, role by relation by action."""

from __future__ import annotations

import itertools

import pytest

from cyberlab.auth.access import AccessFacts, Action, may
from cyberlab.db.models import Role

RELATIONS = {
    "none": AccessFacts(),
    "assigned": AccessFacts(assigned=True),
    "assigned with power": AccessFacts(assigned=True, can_power=True),
    "assigned with reset": AccessFacts(assigned=True, can_reset=True),
    "teaches": AccessFacts(teaches=True),
    "teaches and assigned": AccessFacts(teaches=True, assigned=True),
    "rights without an assignment": AccessFacts(can_power=True, can_reset=True),
}
ASSIGNED = {"assigned", "assigned with power", "assigned with reset", "teaches and assigned"}
TEACHES = {"teaches", "teaches and assigned"}
POWER = {"assigned with power"}
RESET = {"assigned with reset"}
ALL = set(RELATIONS)

# role, action -> the relations that allow it; what is not written here is forbidden
TABLE: dict[tuple[Role, Action], set[str]] = {
    (Role.STUDENT, Action.OPEN_CONSOLE): ASSIGNED,
    (Role.STUDENT, Action.POWER): POWER,
    (Role.STUDENT, Action.RESET): RESET,
    (Role.STUDENT, Action.USE): ALL,
    (Role.TEACHER, Action.OPEN_CONSOLE): ASSIGNED | TEACHES,
    (Role.TEACHER, Action.SUPERVISE): ASSIGNED | TEACHES,
    (Role.TEACHER, Action.POWER): POWER | TEACHES,
    (Role.TEACHER, Action.RESET): RESET | TEACHES,
    (Role.TEACHER, Action.CHOOSE_SNAPSHOT): TEACHES,
    (Role.TEACHER, Action.RUN_CLASS): TEACHES,
    (Role.TEACHER, Action.TEACH): ALL,
    (Role.TEACHER, Action.USE): ALL,
    **{(Role.ADMIN, action): ALL for action in Action},
}


@pytest.mark.parametrize(("role", "action", "relation"), itertools.product(Role, Action, RELATIONS))
def test_the_table(role: Role, action: Action, relation: str) -> None:
    assert may(role, action, RELATIONS[relation]) is (relation in TABLE.get((role, action), set()))


def test_only_an_admin_administers() -> None:
    assert [role for role in Role if may(role, Action.ADMINISTER)] == [Role.ADMIN]
