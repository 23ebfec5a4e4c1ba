"""Who may reach what: every address, asked by everybody."""

from __future__ import annotations

import re

import pytest

from cyberlab.auth.access import Action
from cyberlab.db import groups
from cyberlab.db.models import MembershipRole, utcnow
from cyberlab.handlers.account.preferences import LanguageHandler
from cyberlab.handlers.api.base import METHODS, ApiHandler, NoSuchAddressHandler, operation_of
from cyberlab.handlers.api.routes import DocumentHandler
from cyberlab.handlers.base import BaseHandler
from cyberlab.handlers.factors import (
    EnrolHandler,
    EnrolPasskeyHandler,
    EnrolPictureHandler,
    FactorHandler,
    PasskeyHandler,
)
from cyberlab.handlers.files import AssetHandler, FaviconHandler, HealthHandler
from cyberlab.handlers.login import HomeHandler, LoginHandler
from cyberlab.handlers.routes import routes
from cyberlab.handlers.sso import CallbackHandler, SsoLogoutHandler, StartHandler
from tests.web import TEST, Client, World, text

# Whoever adds to these says: everybody in the world may ask this.
PUBLIC = {HomeHandler, LoginHandler, AssetHandler, FaviconHandler, HealthHandler}
# These ask for the cookie of the first factor.
PUBLIC |= {FactorHandler, PasskeyHandler, EnrolHandler, EnrolPasskeyHandler, EnrolPictureHandler}

PUBLIC |= {LanguageHandler, StartHandler, CallbackHandler, SsoLogoutHandler}
# The description of the API says nothing of anybody.
PUBLIC |= {DocumentHandler, NoSuchAddressHandler}


def test_every_handler_is_public_by_name_or_asks(world: World) -> None:
    for spec in routes(world.portal):
        handler = spec.handler_class
        if handler in PUBLIC:
            continue
        assert issubclass(handler, BaseHandler), f"{handler.__name__} knows no rule"
        assert handler.rule is not None, f"{handler.__name__} says not who may use it"
        assert not handler.rule.public, f"{handler.__name__} is public, but not in this test's list"
        assert not spec.regex.pattern.startswith("/admin") or handler.rule.action == Action.ADMINISTER
        if handler.rule.on_vm:
            assert spec.regex.groups == 1, f"{handler.__name__}: the address must begin with the VM's id"
        if spec.regex.pattern.startswith("/teacher/classes/"):
            assert handler.rule.on_class, f"{handler.__name__} is about a class, but asks not about it"


@pytest.mark.gen_test
async def test_a_handler_without_a_rule_answers_nobody(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyberlab.handlers.student import StudentHandler

    monkeypatch.setattr(StudentHandler, "rule", None)
    assert (await client.ask("/student", "student")).code == 500


def _filled(pattern: str, world: World) -> str:
    """An address that exists: the ids are those of "kali", of its assignment, or of the student."""
    vm = world.vms["kali"]
    ids = {
        "/admin/users": world.users["student"],
        "/admin/assignments": world.assignment,
        "/teacher/classes": world.group,
        "/admin/classes": world.group,
    }
    number = next((value for prefix, value in ids.items() if pattern.startswith(prefix)), vm)
    pattern = pattern.replace("([a-z-]{1,64})", "vm-gone")
    return re.sub(r"\(\[0-9\][^)]*\)", str(number), pattern).rstrip("$")


def _guarded(world: World) -> list[tuple[str, type[BaseHandler]]]:
    return [
        (_filled(spec.regex.pattern, world), spec.handler_class)
        for spec in routes(world.portal)
        if issubclass(spec.handler_class, BaseHandler) and spec.handler_class not in PUBLIC
    ]


@pytest.mark.gen_test
async def test_nobody_is_sent_to_sign_in(client: Client, world: World) -> None:
    for path, handler in _guarded(world):
        response = await client.ask(path)
        if handler.answers_json or path.startswith("/vnc-proxy/"):
            assert response.code == 401, path
            continue
        assert response.code == 303, path
        assert response.headers["Location"] == f"/auth/login?next={path.replace('/', '%2F')}"


@pytest.mark.gen_test
async def test_a_form_without_its_token_is_refused(client: Client, world: World) -> None:
    for path, handler in [*_guarded(world), ("/auth/login", LoginHandler)]:
        if issubclass(handler, ApiHandler):
            continue  # no cookie is looked at there: the next test
        response = await client.ask(path, "admin", form={}, xsrf=False)
        assert response.code == 403, path
        assert "expired" in text(response) or handler.answers_json
        assert response.headers["X-Request-Id"] in text(response)


@pytest.mark.gen_test
async def test_the_api_looks_at_no_cookie(client: Client, world: World) -> None:
    for path, handler in _guarded(world):
        if issubclass(handler, ApiHandler):
            for method in METHODS:
                if operation_of(handler, method):
                    response = await client.ask(path, "admin", method=method.upper())
                    assert response.code == 401, (method, path)


@pytest.mark.gen_test
async def test_a_form_from_another_site_is_refused(client: Client) -> None:
    form = {"username": "new", "password": "tulip-forge-4821", "role": "admin"}
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Origin": "https://evil.example"},
    ):
        response = await client.ask("/admin/users/new", "admin", form=form, headers=headers)
        assert response.code == 403
        assert "another site" in text(response)
    trusted = {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8080"}  # PUBLIC_URL's own
    assert (await client.ask("/admin/users/new", "admin", form=form, headers=trusted)).code == 303


@pytest.mark.parametrize("who", ["student", "teacher"])
@pytest.mark.gen_test
async def test_the_admins_pages_are_for_admins(client: Client, world: World, who: str) -> None:
    for path, _ in _guarded(world):
        if path.startswith("/admin"):
            for form in (None, {"name": "x"}):
                assert (await client.ask(path, who, form=form)).code == 403, path


@pytest.mark.gen_test
async def test_the_teachers_pages_are_not_for_students(client: Client) -> None:
    assert (await client.ask("/teacher", "student")).code == 403
    assert (await client.ask("/teacher/states", "student")).code == 403


@pytest.mark.gen_test
async def test_a_class_is_for_its_teachers(client: Client, world: World) -> None:
    with world.database.transaction() as s:
        foreign = groups.create(s, TEST, name="Databases").id
        groups.add_member(s, TEST, foreign, world.users["teacher"], MembershipRole.STUDENT)
    paths = [path for path, handler in _guarded(world) if handler.rule is not None and handler.rule.on_class]
    assert len(paths) >= 7
    for path in paths:
        theirs = path.replace(f"/classes/{world.group}", f"/classes/{foreign}", 1)
        for who, asked in (("student", path), ("other", path), ("teacher", theirs)):
            for form in (None, {"act": "start", "vm": str(world.vms["kali"])}):
                assert (await client.ask(asked, who, form=form)).code == 403, (who, asked)
        missing = path.replace(f"/classes/{world.group}", "/classes/999", 1)
        assert (await client.ask(missing, "admin")).code == 404, missing
    with world.database.transaction() as s:
        group = groups.get(s, world.group)
        assert group is not None
        group.archived_at = utcnow()
    for path in paths:
        assert (await client.ask(path, "teacher")).code == 403, f"{path} of an archived class"
    assert world.cluster.asked == []


@pytest.mark.parametrize(
    ("who", "side", "vm", "code"),
    [
        ("student", "student", "kali", 200),
        ("student", "student", "spare", 403),
        ("student", "student", "other", 403),
        ("student", "teacher", "kali", 403),
        ("teacher", "teacher", "kali", 200),
        ("teacher", "student", "kali", 200),
        ("teacher", "teacher", "other", 403),
        ("teacher", "teacher", "spare", 403),
        ("admin", "teacher", "spare", 200),
        ("other", "student", "kali", 403),
    ],
)
@pytest.mark.gen_test
async def test_consoles(client: Client, world: World, who: str, side: str, vm: str, code: int) -> None:
    response = await client.ask(f"/{side}/console/{world.vms[vm]}", who)
    assert response.code == code
    assert (f'data-socket="/vnc-proxy/ws/{world.vms[vm]}"' in text(response)) == (code == 200)
    if side == "student":
        assert (await client.ask(f"/vnc-proxy/status/{world.vms[vm]}", who)).code == code


@pytest.mark.parametrize(
    "path",
    [
        "/student/console/999",
        "/teacher/console/999",
        "/student/console/999999999999999999",
        "/vnc-proxy/status/999",
        "/admin/users/999",
        "/admin/users/999/remove",
        "/admin/users/999/password",
        "/admin/users/999/active",
        "/admin/classes/999",
        "/admin/classes/999/members",
        "/admin/classes/999/members/change",
        "/admin/classes/999/archive",
        "/admin/classes/999/remove",
        "/admin/changes/999",
        "/admin/vms/999",
        "/admin/vms/999/remove",
        "/admin/assignments/999",
        "/admin/assignments/999/remove",
        "/admin/assignments/999999999999999999",
        "/student/console/",
        "/student/console/-1",
        "/student/console/1%0a",
        "/student/console/x",
        "/nothing/here",
        "/admin/",
    ],
)
@pytest.mark.gen_test
async def test_unknown_is_404(client: Client, path: str) -> None:
    response = await client.ask(path, "admin")
    assert response.code == 404
    assert response.headers["X-Request-Id"] in text(response)


@pytest.mark.gen_test
async def test_a_bad_cookie_is_no_cookie(client: Client, world: World) -> None:
    for token in ("", "x", "y" * 5000, '"\\377', "é"):
        world.tokens["bad"] = token
        assert (await client.ask("/student", "bad")).code == 303
