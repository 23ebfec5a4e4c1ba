from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from cyberlab.console.registry import ConsoleRequest
from cyberlab.db import audit, logins
from cyberlab.db.models import LoginSession, utcnow
from tests.web import Client, World, text


def look(s: Session, user_id: int) -> LoginSession:
    return logins.of_user(s, user_id, utcnow(), 3600.0)[0]


@pytest.mark.gen_test
async def test_who_is_signed_in(client: Client, world: World) -> None:
    page = text(await client.ask("/admin/logins", "admin"))
    for name in ("student", "other", "teacher", "admin"):
        assert f">{name}</a>" in page
    assert "this is you" in page
    page = text(await client.ask("/admin/logins?q=teach", "admin"))
    assert ">student</a>" not in page


@pytest.mark.gen_test
async def test_one_is_ended_with_its_consoles(client: Client, world: World) -> None:
    row = await world.database.run(look, world.users["student"])
    ended: list[str] = []
    request = ConsoleRequest(world.users["student"], "student", row.id, world.vms["kali"], "kali")
    with world.portal.registry.entry(request, ended.append):
        assert (await client.ask(f"/admin/logins/{row.id}/end", "admin", form={})).code == 303
    assert ended == ["signed-out"]
    assert (await client.ask("/student", "student")).code == 303
    assert (await world.database.run(audit.page)).rows[0].action == "login.ended"
    assert (await client.ask(f"/admin/logins/{row.id}/end", "admin", form={})).code == 303
