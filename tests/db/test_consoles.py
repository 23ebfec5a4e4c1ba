"""The record of who saw which screen."""

from __future__ import annotations

from datetime import timedelta

from cyberlab.db import consoles, users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Role, utcnow


def _open(database: Database, actor: Actor) -> list[int]:
    anna = database.call(users.create, actor, username="anna", role=Role.STUDENT)
    vm = database.call(vms.create, actor, cluster="pve", vmid=100, node="pve1", name="kali")
    return [
        database.call(
            consoles.opened, user_id=anna.id, vm_id=vm.id, username="anna", vm_label=vm.label, address="192.0.2.7"
        )
        for _ in range(2)
    ]


def test_the_first_reason_counts(database: Database, actor: Actor) -> None:
    one, two = _open(database, actor)
    database.call(consoles.closed, one, bytes_to_client=5, bytes_to_upstream=3, end_reason="unassigned")
    database.call(consoles.closed, one, bytes_to_client=9, bytes_to_upstream=9, end_reason="closed")
    rows = database.call(consoles.page).rows
    assert [row.id for row in rows] == [two, one]
    assert (rows[1].bytes_to_client, rows[1].bytes_to_upstream, rows[1].end_reason) == (5, 3, "unassigned")
    assert rows[1].ended_at is not None
    assert rows[1].ended_at >= rows[1].started_at
    assert rows[0].ended_at is None


def test_what_a_crash_left_open_is_closed(database: Database, actor: Actor) -> None:
    one, two = _open(database, actor)
    database.call(consoles.closed, one, bytes_to_client=5, bytes_to_upstream=3, end_reason="closed")
    database.call(consoles.close_abandoned)
    assert {row.id: row.end_reason for row in database.call(consoles.page).rows} == {one: "closed", two: "abandoned"}


def test_past_consoles_are_found_by_who_what_and_when(database: Database, actor: Actor) -> None:
    one, two = _open(database, actor)
    database.call(consoles.closed, one, bytes_to_client=5, bytes_to_upstream=3, end_reason="closed")
    now = utcnow()
    hour = timedelta(hours=1)
    assert [row.id for row in database.call(consoles.page, search="ANN pve/100").rows] == [two, one]
    assert database.call(consoles.page, search="bob").total == 0
    assert database.call(consoles.page, vm_id=999).total == 0
    assert database.call(consoles.page, search="192.0.2.7", since=now - hour, until=now).total == 2
    assert [row.id for row in database.call(consoles.page, since=now + hour).rows] == [two], "it is still open"
    assert database.call(consoles.page, until=now - hour).total == 0


def test_the_tiles_of_walls_may_be_left_out(database: Database, actor: Actor) -> None:
    one, two = _open(database, actor)
    about = {"user_id": None, "vm_id": None, "username": "teacher", "vm_label": "pve/100", "address": ""}
    tile = database.call(consoles.opened, **about, wall=True)
    assert [row.id for row in database.call(consoles.page, walls=False).rows] == [two, one]
    assert [(row.id, row.wall) for row in database.call(consoles.page).rows] == [
        (tile, True),
        (two, False),
        (one, False),
    ]


def test_old_ones_are_deleted_and_open_ones_are_not(database: Database, actor: Actor) -> None:
    one, two = _open(database, actor)
    database.call(consoles.closed, one, bytes_to_client=5, bytes_to_upstream=3, end_reason="closed")
    assert database.call(consoles.purge, utcnow() - timedelta(hours=1)) == 0
    assert database.call(consoles.purge, utcnow() + timedelta(hours=1)) == 1
    assert [row.id for row in database.call(consoles.page).rows] == [two]
