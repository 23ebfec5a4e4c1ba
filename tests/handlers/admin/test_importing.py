"""Importing: a look first, every bad row named, then all or nothing."""

from __future__ import annotations

import csv
import io

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httputil import HTTPHeaders

from cyberlab.db import assignments, groups, members, users
from cyberlab.db.models import Role
from cyberlab.handlers import uploads
from tests.web import TEST, XSRF, Client, World, text

MARK = "xxBOUNDARYxx"


class Browser:
    """Sends files."""

    def __init__(self, http: AsyncHTTPClient, base: str, world: World) -> None:
        self._http, self._base, self._world = http, base, world

    async def send(self, data: bytes, kind: str = "users", who: str = "admin", token: str = XSRF) -> HTTPResponse:
        parts = "".join(
            f'--{MARK}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("_xsrf", token), ("kind", kind))
        )
        file = f'--{MARK}\r\nContent-Disposition: form-data; name="file"; filename="<x>.csv"\r\n\r\n'
        headers = HTTPHeaders({"Accept": "text/html", "Content-Type": f"multipart/form-data; boundary={MARK}"})
        headers["Cookie"] = f"cyberlab={self._world.tokens[who]}; _xsrf={XSRF}"
        return await self._http.fetch(
            f"{self._base}/admin/import",
            method="POST",
            headers=headers,
            body=parts.encode() + file.encode() + data + f"\r\n--{MARK}--\r\n".encode(),
            follow_redirects=False,
            raise_error=False,
        )


@pytest.fixture
def browser(http_client: AsyncHTTPClient, base_url: str, world: World) -> Browser:
    return Browser(http_client, base_url, world)


@pytest.mark.gen_test
async def test_a_look_then_the_import(client: Client, browser: Browser, world: World) -> None:
    assert "Import a CSV file" in text(await client.ask("/admin/import?kind=classes", "admin"))
    sent = await browser.send("Benutzer;Name\nänne;<b>Änne</b>\nstudent;\n".encode("latin-1"))
    assert sent.code == 303
    where = sent.headers["Location"]
    page = text(await client.ask(where, "admin"))
    assert "&lt;x&gt;.csv" in page
    assert "+ änne (local)" in page
    assert await world.database.run(users.by_name, "änne") is None
    done = await client.ask(where, "admin", form={})
    assert (done.code, done.headers["Location"]) == (303, "/admin/users")
    user = await world.database.run(users.by_name, "änne")
    assert user is not None
    assert user.display_name == "<b>Änne</b>"
    assert (await client.ask(where, "admin", form={})).code == 404  # done already


@pytest.mark.gen_test
async def test_bad_rows_stop_it_unless_told_otherwise(client: Client, browser: Browser, world: World) -> None:
    rows = "".join(f"bad name {number},\n" for number in range(120))
    where = (await browser.send(f"user,role\nanna,\n{rows}bert,king\n".encode())).headers["Location"]
    page = text(await client.ask(where, "admin"))
    assert "1–50 of 121" in page
    assert "120 × a user name has no spaces" in page
    assert "121–121" not in page
    assert "king" in text(await client.ask(f"{where}?page=3", "admin"))
    file = await client.ask(f"{where}/bad", "admin")
    lines = list(csv.reader(io.StringIO(file.body.decode("utf-8-sig"))))
    assert len(lines) == 122
    assert lines[-1] == ["123", "role", "king", "a role is student, teacher or admin"]
    refused = await client.ask(where, "admin", form={})
    assert (refused.code, "nothing was changed" in text(refused)) == (422, True)
    assert await world.database.run(users.by_name, "anna") is None
    assert (await client.ask(where, "admin", form={"good": "1"})).code == 303
    assert await world.database.run(users.by_name, "anna") is not None


@pytest.mark.gen_test
async def test_classes_and_assignments(client: Client, browser: Browser, world: World) -> None:
    where = (await browser.send(b"class,user\nNew,other\n", "classes")).headers["Location"]
    assert (await client.ask(where, "admin", form={})).headers["Location"] == "/admin/classes"
    group = (await world.database.run(groups.page, search="new")).rows[0]
    assert (await world.database.run(members.page, group.id)).total == 1
    where = (await browser.send(b"machine,user,class\nspare,other,New\n", "assignments")).headers["Location"]
    assert (await client.ask(where, "admin", form={})).headers["Location"] == "/admin/assignments"
    row = await world.database.run(assignments.find, vm_id=world.vms["spare"], user_id=world.users["other"])
    assert row is not None
    assert row.via_group_id == group.id


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "choose a file"), (b"name\nx\n", "user is not among them"), (b"PK\x03\x04\0abcdefgh", "no text file")],
)
@pytest.mark.gen_test
async def test_files_that_are_none(browser: Browser, data: bytes, words: str) -> None:
    refused = await browser.send(data)
    assert (refused.code, words in text(refused)) == (422, True)


@pytest.mark.gen_test
async def test_a_file_that_is_too_large(browser: Browser, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyberlab.handlers.admin import importing as admin_import

    monkeypatch.setattr(admin_import, "MOST_BYTES", 2 << 20)
    refused = await browser.send(b"user\n" + b"x" * (3 << 20), "classes")
    assert (refused.code, "larger than 2 MB" in text(refused)) == (422, True)
    assert '<option value="classes" selected>' in text(refused)


@pytest.mark.gen_test
async def test_whose_it_is(client: Client, browser: Browser, world: World) -> None:
    for who, token, code in (("admin", "0" * 32, 403), ("teacher", XSRF, 403), ("student", XSRF, 403)):
        assert (await browser.send(b"user\nx\n", who=who, token=token)).code == code
    where = (await browser.send(b"user\nx\n")).headers["Location"]
    another = await world.database.run(users.create, TEST, username="boss", role=Role.ADMIN)
    upload = world.portal.uploads.get(int(where.rpartition("/")[2]), world.users["admin"])
    assert upload is not None
    assert world.portal.uploads.get(upload.id, another.id) is None
    await browser.send(b"user\ny\n")  # a newer file takes the place of the older
    assert (await client.ask(where, "admin")).code == 404
    for path in ("/admin/import/999", "/admin/import/999/bad"):
        assert (await client.ask(path, "admin")).code == 404


@pytest.mark.gen_test
async def test_nobody_came_back_for_it(browser: Browser, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    where = (await browser.send(b"user\nx\n")).headers["Location"]
    monkeypatch.setattr(uploads, "KEPT_SECONDS", -1.0)
    assert (await client.ask(where, "admin")).code == 404


@pytest.mark.gen_test
async def test_export_respects_the_filter_and_is_imported_again(client: Client, browser: Browser, world: World) -> None:
    file = await client.ask("/admin/users/export?role=student", "admin")
    assert file.headers["Content-Disposition"] == 'attachment; filename="users.csv"'
    lines = list(csv.reader(io.StringIO(file.body.decode("utf-8-sig"))))
    assert [line[0] for line in lines] == ["user", "student", "other"]
    german = await client.ask("/admin/users/export", "admin", headers={"Accept-Language": "de"})
    assert german.body.decode("utf-8-sig").startswith("user;backend;")
    for kind in ("users", "classes", "assignments"):
        exported = await client.ask(f"/admin/{kind}/export", "admin")
        page = text(await client.ask((await browser.send(exported.body, kind)).headers["Location"], "admin"))
        assert "<strong>0</strong> would be new" in page, kind
        assert "<strong>0</strong> are wrong" in page, kind
    assert len((await client.ask("/admin/assignments/export?q=kali", "admin")).body.splitlines()) == 2
