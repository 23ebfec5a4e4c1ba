"""What groups mean: pure, table by table."""

from __future__ import annotations

import pytest

from cyberlab.auth.base import Identity
from cyberlab.auth.config import GroupMapping
from cyberlab.auth.mapping import Standing, standing
from cyberlab.db.models import Role


def _standing(mapping: GroupMapping, *groups: str) -> Standing:
    return standing(mapping, Identity("campus", "1", "anna", groups=frozenset(groups)))


@pytest.mark.parametrize(
    ("groups", "admitted"),
    [((), False), (("other",), False), (("LAB ",), True), (("staff", "x"), True), (("lab-more",), False)],
)
def test_one_of_the_required_groups_will_do(groups: tuple[str, ...], admitted: bool) -> None:
    assert _standing(GroupMapping(required_groups=("lab", "Staff")), *groups).admitted is admitted
    assert _standing(GroupMapping(), *groups).admitted


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        ((), Role.STUDENT),
        (("CN=Staff,DC=example",), Role.TEACHER),
        (("cn=staff,dc=example", "root"), Role.ADMIN),
        (("staff",), Role.STUDENT),
    ],
)
def test_the_highest_role_wins(groups: tuple[str, ...], role: Role) -> None:
    mapping = GroupMapping(roles={"cn=staff,dc=example": Role.TEACHER, "root": Role.ADMIN, "low": Role.STUDENT})
    assert _standing(mapping, *groups).role == role


def test_without_roles_the_portal_decides() -> None:
    assert _standing(GroupMapping(default_role=Role.TEACHER), "root").role is None
    assert _standing(GroupMapping(default_role=Role.TEACHER, roles={"x": Role.STUDENT}), "x").role == Role.TEACHER


def test_classes_by_name_and_by_prefix() -> None:
    mapping = GroupMapping(classes={"NetSec": "Network Security", "course-*": "Course *", "lab*": "Lab", "*": ""})
    assert _standing(mapping, "netsec", "Course-A1", "course-B", "laboratory", "labour", "else").classes == {
        "Network Security",
        "Course A1",
        "Course B",
        "Lab",
    }
    assert _standing(mapping).classes == frozenset()
