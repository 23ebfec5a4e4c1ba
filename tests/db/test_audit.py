"""Audit rows: whatever comes in fits, and can be found again."""

from __future__ import annotations

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database


def test_rows_are_newest_first_and_searchable(database: Database) -> None:
    for number, action in enumerate(("user.create", "login.failure", "login.success")):
        database.call(audit.record, Actor(None, f"user_{number}", "192.0.2.1"), action, "vm pve/100", "50%")
    assert [row.action for row in database.call(audit.page).rows] == ["login.success", "login.failure", "user.create"]
    assert database.call(audit.page, search="LOGIN pve/100").total == 2
    assert [row.actor for row in database.call(audit.page, search="r_1").rows] == ["user_1"]
    assert database.call(audit.page, search="%").total == 0  # the detail is not searched


def test_what_is_too_long_or_unprintable_is_made_to_fit(database: Database) -> None:
    database.call(audit.record, Actor(None, "a\x00\n" * 500, "x" * 99), "y" * 99, "z\udcff" * 999, "w" * 9999)
    row = database.call(audit.page).rows[0]
    assert [len(text) for text in (row.action, row.address, row.detail)] == [64, 45, 1024]
    assert "\x00" not in row.actor
    assert len(row.actor) <= 255
    assert len(row.object) <= 320
