"""Every address, asked by everybody: what is written here is allowed, everything else is 403."""

from __future__ import annotations

import re

import pytest
from tornado.httpclient import AsyncHTTPClient

from cyberlab.db import groups, logins, tokens, users
from cyberlab.db.models import MembershipRole, Role
from cyberlab.db.tokens import Scope
from cyberlab.handlers.api.base import METHODS, PREFIX, ApiHandler, operation_of
from cyberlab.handlers.base import BaseHandler
from tests.handlers.test_access import _guarded as guarded
from tests.web import TEST, Client, World

EVERYBODY = frozenset({"student", "other", "teacher", "stranger", "admin"})
TEACHERS = frozenset({"teacher", "stranger", "admin"})
OWN = frozenset({"student", "teacher", "admin"})  # of "kali": who holds it, who teaches them
# The first that fits counts. The ids in the addresses are those of "kali", of "Network security", of the student.
ALLOWED: tuple[tuple[str, frozenset[str]], ...] = (
    (r"/admin", frozenset({"admin"})),
    (r"/teacher/classes/[0-9]+", frozenset({"teacher", "admin"})),
    (r"/teacher/(console|watch)/", frozenset({"teacher", "admin"})),
    (r"/teacher", TEACHERS),
    (r"/student/machines/[0-9]+/reset", frozenset({"teacher", "admin"})),  # the student may only switch it on and off
    (r"/student/(console|machines)/", OWN),
    (r"/vnc-proxy/", OWN),
    (r"/(student|account|auth/logout)", EVERYBODY),
    (r"/help", EVERYBODY),
    (rf"{PREFIX}/me", EVERYBODY),
    (rf"{PREFIX}/machines/[0-9]+/reset", frozenset({"teacher", "admin"})),
    (rf"{PREFIX}/machines/[0-9]+", OWN),
    (PREFIX, frozenset({"admin"})),
)


def allowed(path: str) -> frozenset[str]:
    """Who may ask for an address; an address that nobody has thought of fails."""
    return next(who for pattern, who in ALLOWED if re.match(pattern, path))


@pytest.fixture
def world(world: World) -> World:
    """With a teacher of another class, who has no business with this one."""
    with world.database.transaction() as s:
        user = users.create(s, TEST, username="stranger", role=Role.TEACHER)
        world.users["stranger"] = user.id
        world.tokens["stranger"] = logins.create(s, user.id, address="", user_agent="", lifetime=3600)
        group = groups.create(s, TEST, name="Forensics")
        groups.add_member(s, TEST, group.id, user.id, MembershipRole.TEACHER)
    return world


@pytest.mark.parametrize("who", sorted(EVERYBODY))
@pytest.mark.gen_test
async def test_a_page_is_for_whom_it_is_for(client: Client, world: World, who: str) -> None:
    for path, handler in guarded(world):
        if issubclass(handler, ApiHandler):
            continue
        if who not in allowed(path):
            for form in (None, {"name": "x"}):
                assert (await client.ask(path, who, form=form)).code == 403, (path, form)
        elif handler.get is not BaseHandler.get:
            assert (await client.ask(path, who)).code not in (401, 403, 500), path


@pytest.mark.parametrize("who", sorted(EVERYBODY))
@pytest.mark.gen_test
async def test_the_api_is_for_whom_it_is_for(
    http_client: AsyncHTTPClient, base_url: str, world: World, who: str
) -> None:
    _, token = world.database.call(tokens.create, TEST, world.users[who], name="x", scopes=list(Scope), expires_at=None)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for path, handler in guarded(world):
        for method in METHODS if issubclass(handler, ApiHandler) else ():
            if operation_of(handler, method) is None or (who in allowed(path) and method != "get"):
                continue
            response = await http_client.fetch(
                base_url + path, method=method.upper(), headers=headers, allow_nonstandard_methods=True,
                body=None if method == "get" else "{}", raise_error=False,
            )  # fmt: skip
            assert (response.code == 403) == (who not in allowed(path)), (method, path, response.code)
            assert response.code != 500, (method, path)
