"""The audit: narrowed down, and as a file."""

from __future__ import annotations

import csv
import io

import pytest

from cyberlab.db import audit
from cyberlab.db.audit import Actor
from cyberlab.handlers.admin import audit as admin_audit
from cyberlab.handlers.admin.audit import harmless
from tests.web import Client, World, text


@pytest.mark.gen_test
async def test_filters_are_in_the_address(client: Client, world: World) -> None:
    await world.database.run(audit.record, Actor(None, "<b>eve"), "vm.start", "vm pve/100 kali", "now & then")
    page = text(await client.ask("/admin/audit?actor=eve&action=vm.&object=kali&since=2020-01-01T00:00", "admin"))
    assert "&lt;b&gt;eve" in page
    assert "now &amp; then" in page
    assert '<option value="vm." selected>vm.*</option>' in page
    assert 'value="2020-01-01T00:00"' in page
    assert 'href="/admin/audit/file?actor=eve' in page
    assert "fits that search" in text(await client.ask("/admin/audit?q=nothing-like-that", "admin"))
    assert "730 days" in page
    assert (await client.ask("/admin/audit?page=99", "admin")).headers["Location"] == "/admin/audit"


@pytest.mark.gen_test
async def test_the_file(client: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_audit, "CHUNK", 2)
    for number in range(5):
        await world.database.run(audit.record, Actor(None, '=HYPERLINK("x")'), "evil", f"row {number}", "ä,\n;")
    response = await client.ask("/admin/audit/file?action=evil", "admin")
    assert response.headers["Content-Disposition"] == 'attachment; filename="audit.csv"'
    assert response.body.startswith("\ufeff".encode())
    rows = list(csv.reader(io.StringIO(response.body.decode("utf-8-sig"))))
    assert rows[0] == ["time", "actor", "action", "object", "detail", "address"]
    assert [row[3] for row in rows[1:]] == [f"row {number}" for number in (4, 3, 2, 1, 0)]
    assert rows[1][1] == '\'=HYPERLINK("x")'
    assert (await world.database.run(audit.page)).rows[0].action == "audit.export"
    monkeypatch.setattr(admin_audit, "EXPORTED", 3)
    assert (await client.ask("/admin/audit/file?action=evil", "admin")).body.count(b"evil") == 3, "bounded"


@pytest.mark.parametrize("value", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_cell_is_a_formula(value: str) -> None:
    assert harmless(value) == f"'{value}"
    assert harmless(f"x{value}") == f"x{value}"
