"""What every response has, and what errors look like."""

from __future__ import annotations

import json
import logging
import re

import pytest

from cyberlab.blocking import PoolBusy
from cyberlab.db.errors import DatabaseUnavailable
from cyberlab.handlers.common import HEADERS
from cyberlab.handlers.routes import routes
from cyberlab.handlers.student import StudentHandler
from tests.web import Client, World, text


@pytest.mark.gen_test
async def test_every_response_carries_the_headers(client: Client, world: World) -> None:
    paths = {re.sub(r"\(\[0-9\][^)]*\)", "1", spec.regex.pattern).rstrip("$") for spec in routes(world.portal)}
    paths = {path for path in paths if "(" not in path} | {"/static/app.css", "/static/none.js", "/nothing"}
    for path in sorted(paths):
        for who in (None, "admin"):
            for form in (None, {"x": "y"}):
                response = await client.ask(path, who, form=form)
                for name, value in HEADERS.items():
                    if name != "Cache-Control":
                        assert response.headers[name] == value, (path, who, response.code)
                assert re.fullmatch("[0-9a-f]{16}", response.headers["X-Request-Id"])
                assert "Server" not in response.headers
                assert "Strict-Transport-Security" not in response.headers
                kept = path.startswith("/static/") and response.code == 200
                assert (response.headers["Cache-Control"] == "no-store") != kept
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


class TestBehindTls:
    @pytest.fixture
    def settings(self) -> dict[str, object]:
        return {"public_url": "https://lab.example.edu"}

    @pytest.mark.gen_test
    async def test_cookies_and_hsts(self, client: Client) -> None:
        response = await client.ask("/auth/login")
        assert response.headers["Strict-Transport-Security"].startswith("max-age=")
        (xsrf,) = response.headers.get_list("Set-Cookie")
        assert xsrf.startswith("__Host-xsrf=")
        for flag in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
            assert flag in xsrf
        assert "Domain" not in xsrf

    @pytest.mark.gen_test
    async def test_the_plain_cookie_counts_no_more(self, client: Client, world: World) -> None:
        assert (await client.ask("/student", "student")).code == 303
        secure = {"Cookie": f"__Host-cyberlab={world.tokens['student']}"}
        assert (await client.ask("/student", headers=secure)).code == 200


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(self: StudentHandler) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(StudentHandler, "get", get)


@pytest.mark.gen_test
async def test_an_unexpected_error_shows_its_id_and_nothing_else(
    client: Client, broken: None, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.ask("/student?q=private", "student")
    assert response.code == 500
    assert response.headers["X-Request-Id"] in text(response)
    assert "secret detail" not in text(response)
    assert "Traceback" not in text(response)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert response.headers["X-Request-Id"] in record.getMessage()
    assert "private" not in caplog.text


@pytest.mark.gen_test
async def test_errors_speak_what_was_asked_for(client: Client) -> None:
    page = await client.ask("/nothing")
    assert page.headers["Content-Type"].startswith("text/html")
    plain = await client.ask("/nothing", headers={"Accept": "*/*"})
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert "Request id: " + plain.headers["X-Request-Id"] in text(plain)
    answer = await client.ask("/student/states")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert json.loads(answer.body).keys() == {"title", "meaning", "advice", "request_id", "help"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DatabaseUnavailable("disk I/O error at /secret/path"), "cannot reach its database"),
        (TimeoutError(), "very busy"),
        (PoolBusy("db"), "very busy"),
    ],
)
@pytest.mark.gen_test
async def test_a_database_that_does_not_answer_is_a_503(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    async def run(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(world.database, "run", run)
    response = await client.ask("/student", "student")
    assert response.code == 503
    assert words in text(response)
    assert "secret" not in text(response)


@pytest.mark.gen_test
async def test_one_access_line_a_request_without_the_query(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cyberlab.access")
    response = await client.ask("/auth/login?next=/private", headers={"X-Forwarded-For": "198.51.100.1"})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "cyberlab.access"]
    assert re.fullmatch(rf"200 GET /auth/login [0-9.]+ms 198\.51\.100\.1 \[{response.headers['X-Request-Id']}\]", line)


@pytest.mark.gen_test
async def test_a_broken_body_is_a_400(client: Client) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = await client.ask("/auth/login", form={"a": "b"}, headers=headers)
    assert response.code == 400
    assert "could not be understood" in text(response)


@pytest.mark.gen_test
async def test_bytes_that_are_no_text_are_a_400(client: Client) -> None:
    assert (await client.ask("/auth/login?next=%ff%fe")).code == 400
    assert (await client.ask("/admin/users?q=%ff", "admin")).code == 400


@pytest.mark.gen_test
async def test_head_is_answered_as_get_without_the_body(client: Client) -> None:
    for path, who in (("/student", "student"), ("/auth/login", None), ("/student", None), ("/nowhere", None)):
        answers = [await client.ask(path, who, method=method) for method in ("GET", "HEAD")]
        assert answers[0].code == answers[1].code, path
        assert answers[0].headers.get("Location") == answers[1].headers.get("Location")
        assert answers[1].body == b""
    for path in ("/auth/sso/uni/callback", "/auth/sso/uni/start"):
        assert (await client.ask(path, method="HEAD")).code == 405
    assert (await client.ask("/auth/logout", "student", method="HEAD")).code == 405
