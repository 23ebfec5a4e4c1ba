"""What a script needs to fill a semester."""

from __future__ import annotations

import pytest

from cyberlab.console.registry import ConsoleRequest
from tests.handlers.api.conftest import Script


@pytest.mark.gen_test
async def test_a_semester_is_filled(script: Script) -> None:
    token = script.token("admin")
    _, group = await script.ask("POST", "/classes", token, {"name": "Forensics 2026"})
    new = {"username": "eva", "backend": "campus", "display_name": "Éva 山", "email": "eva@example.edu"}
    response, eva = await script.ask("POST", "/users", token, new)
    assert (response.code, eva["role"], eva["active"]) == (201, "student", True)
    response, member = await script.ask("PUT", f"/classes/{group['id']}/members/{eva['id']}", token, {})
    assert (response.code, member["role"]) == (200, "student")
    batch = [
        {
            "machine_id": script.world.vms["spare"], "user_id": eva["id"], "for_class_id": group["id"],
            "starts_at": "2026-10-01T08:00:00+02:00", "ends_at": "2027-02-12T00:00:00Z", "power": True,
        },
        {"machine_id": script.world.vms["other"], "class_id": group["id"]},
    ]  # fmt: skip
    response, made = await script.ask("POST", "/assignments/batch", token, {"assignments": batch})
    assert response.code == 201
    assert made["items"][0]["starts_at"] == "2026-10-01T06:00:00Z"
    assert made["items"][0]["for_class_id"] == group["id"]
    response, listed = await script.ask("GET", "/assignments?q=eva", token)
    assert [row["id"] for row in listed["items"]] == [made["items"][0]["id"]]


@pytest.mark.gen_test
async def test_a_batch_is_taken_as_a_whole_or_not_at_all(script: Script) -> None:
    token, world = script.token("admin"), script.world
    before = (await script.ask("GET", "/assignments", token))[1]["total"]
    batch = [
        {"machine_id": world.vms["spare"], "user_id": world.users["other"]},
        {"machine_id": world.vms["kali"], "user_id": world.users["student"]},  # has it already
        {"machine_id": 999, "user_id": world.users["student"]},
        {"machine_id": world.vms["spare"], "user_id": world.users["teacher"],
         "starts_at": "2026-10-02T00:00:00Z", "ends_at": "2026-10-01T00:00:00Z"},
    ]  # fmt: skip
    response, problem = await script.ask("POST", "/assignments/batch", token, {"assignments": batch})
    assert response.code == 409
    assert [error["field"] for error in problem["errors"]] == [
        "assignments.1.user_id",
        "assignments.2",
        "assignments.3.ends_at",
    ]
    assert (await script.ask("GET", "/assignments", token))[1]["total"] == before


@pytest.mark.gen_test
async def test_a_change_leaves_what_it_does_not_name(script: Script) -> None:
    token = script.token("admin")
    path = f"/assignments/{script.world.assignment}"
    _, before = await script.ask("GET", path, token)
    change = {"ends_at": "2030-01-01T00:00:00Z", "version": before["version"]}
    response, after = await script.ask("PATCH", path, token, change)
    assert response.code == 200
    assert (after["power"], after["ends_at"]) == (True, "2030-01-01T00:00:00Z")
    response, problem = await script.ask("PATCH", path, token, change)
    assert response.code == 409
    assert problem["errors"][0]["field"] == "version"
    assert (await script.ask("PATCH", path, token, {"ends_at": None}))[1]["ends_at"] is None
    assert (await script.ask("DELETE", path, token))[0].code == 204
    assert (await script.ask("GET", path, token))[0].code == 404


@pytest.mark.gen_test
async def test_users_are_changed_and_removed(script: Script) -> None:
    token, path = script.token("admin"), f"/users/{script.world.users['student']}"
    _, user = await script.ask("PATCH", path, token, {"display_name": "<script>", "active": False})
    assert (user["display_name"], user["active"], user["role"]) == ("<script>", False, "student")
    response, problem = await script.ask("PATCH", f"/users/{script.world.users['admin']}", token, {"role": "student"})
    assert response.code == 409
    assert "last active admin" in problem["detail"]
    assert (await script.ask("DELETE", path, token))[0].code == 204
    assert (await script.ask("GET", path, token))[0].code == 404


@pytest.mark.gen_test
async def test_a_weak_password_is_refused(script: Script) -> None:
    token = script.token("admin")
    response, problem = await script.ask("POST", "/users", token, {"username": "eva", "password": "password1"})
    assert response.code == 409
    assert problem["errors"][0]["field"] == "password"
    strong = {"username": "eva", "password": "correct horse battery staple"}
    assert (await script.ask("POST", "/users", token, strong))[0].code == 201
    directory = {"username": "eve", "password": "correct horse battery staple", "backend": "campus"}
    assert (await script.ask("POST", "/users", token, directory))[0].code == 409


@pytest.mark.gen_test
async def test_a_machine_is_shown_to_who_holds_or_teaches_it(script: Script) -> None:
    for who, code in (("student", 200), ("teacher", 200), ("admin", 200), ("other", 403)):
        response, machine = await script.ask("GET", f"/machines/{script.world.vms['kali']}", script.token(who))
        assert response.code == code, who
        assert code != 200 or machine["vmid"] == 100
    _, mine = await script.ask("GET", "/me/assignments", script.token("student"))
    assert [row["machine_id"] for row in mine["items"]] == [script.world.vms["kali"]]


@pytest.mark.gen_test
async def test_a_console_is_disconnected(script: Script) -> None:
    token, ended = script.token("admin"), []
    request = ConsoleRequest(
        user_id=script.world.users["student"], username="student", login_session_id=1,
        vm_id=script.world.vms["kali"], vm_label="pve/100 kali",
    )  # fmt: skip
    with script.world.portal.registry.entry(request, ended.append) as live:
        _, consoles = await script.ask("GET", "/consoles", token)
        assert [row["machine"] for row in consoles["items"]] == ["pve/100 kali"]
        assert (await script.ask("DELETE", f"/consoles/{live.id + 1}", token))[0].code == 404
        assert ended == []
        assert (await script.ask("DELETE", f"/consoles/{live.id}", token))[0].code == 204
    assert len(ended) == 1


@pytest.mark.gen_test
async def test_a_class_is_renamed_archived_brought_back_and_removed(script: Script) -> None:
    token, world = script.token("admin"), script.world
    _, listed = await script.ask("GET", "/classes?q=network", token)
    path = f"/classes/{listed['items'][0]['id']}"
    _, members = await script.ask("GET", f"{path}/members", token)
    assert [(row["username"], row["role"]) for row in members["items"]] == [
        ("teacher", "teacher"),
        ("student", "student"),
    ]
    _, renamed = await script.ask("PATCH", path, token, {"name": "NetSec", "version": 1})
    assert (renamed["name"], renamed["version"]) == ("NetSec", 2)
    assert (await script.ask("PATCH", path, token, {"name": "Mine", "version": 1}))[0].code == 409
    _, archived = await script.ask("PATCH", path, token, {"archived": True})
    assert archived["archived_at"]
    assert (await script.ask("GET", "/classes", token))[1]["total"] == 0
    assert (await script.ask("GET", "/classes?archived=true", token))[1]["total"] == 1
    assert (await script.ask("PATCH", path, token, {"archived": False}))[1]["archived_at"] is None
    assert (await script.ask("DELETE", f"{path}/members/{world.users['student']}", token))[0].code == 204
    assert (await script.ask("DELETE", path, token))[0].code == 204
    assert (await script.ask("GET", f"{path}/members", token))[0].code == 404
