"""Single sign-on at the portal's own pages: cookies, words, audit rows, what is shown and hidden."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from cyberlab.auth.base import BackendUnavailable, Identity, RedirectStart, SignInRefused
from cyberlab.auth.config import AuthConfig, BackendConfig, Backends, GroupMapping
from cyberlab.auth.proxy import ProxyBackend, ProxyOptions
from cyberlab.db import audit, users
from tests.databases import SqliteTemplate
from tests.handlers.jar import Jar
from tests.web import PASSWORD, World, text

CALLBACK = "/auth/sso/uni/callback?state=s"


class Elsewhere:
    """A redirect backend that knows Anna."""

    def __init__(self, name: str, label: str) -> None:
        self.name, self.label = name, label
        self.fails: Exception | None = None
        self.groups = frozenset({"lab"})
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.callbacks: list[str] = []

    async def begin(self, callback_url: str) -> RedirectStart:
        self.callbacks.append(callback_url)
        if isinstance(self.fails, BackendUnavailable):
            raise self.fails
        return RedirectStart("https://login.uni.example/?x=1", {"state": "s"})

    async def finish(self, callback_url: str, state: Mapping[str, str], arguments: Mapping[str, str]) -> Identity:
        await self.may_answer.wait()
        if self.fails:
            raise self.fails
        if arguments.get("state") != state["state"]:
            raise SignInRefused("state", "another one")
        return Identity(self.name, "id-of-anna", "anna", "Anna A.", None, self.groups)

    async def logout_url(self, return_url: str) -> str | None:
        return f"https://login.uni.example/logout?to={return_url}"


@pytest.fixture
def uni() -> Elsewhere:
    return Elsewhere("uni", "Sign in with Uni")


@pytest.fixture
def hidden() -> bool:
    """Whether local sign-in stands behind a link."""
    return False


@pytest.fixture
def world(sqlite: SqliteTemplate, tmp_path: Path, uni: Elsewhere, hidden: bool) -> Iterator[World]:
    """A portal with local accounts, a redirect backend, and two proxies of which one is on this host."""
    names = ("uni", "other", "shib", "far")
    config = AuthConfig(
        (
            BackendConfig(name="local", kind="local", hidden=hidden),
            *(BackendConfig(name=name, kind="x", mapping=GroupMapping(required_groups=("lab",))) for name in names),
        )
    )
    near = ProxyOptions(label="Shibboleth", addresses=("127.0.0.1",), groups_header="X-Groups")
    far = ProxyOptions(label="Far", addresses=("192.0.2.1",), groups_header="X-Groups")
    made = World(
        sqlite.copy(tmp_path),
        backends=Backends(
            config,
            redirect=(uni, Elsewhere("other", "Other")),
            proxy=(ProxyBackend("shib", near), ProxyBackend("far", far)),
        ),
    )
    yield made
    made.close()


@pytest.fixture
def jar(http_client: AsyncHTTPClient, base_url: str) -> Jar:
    return Jar(http_client, base_url)


async def _audited(world: World) -> list[tuple[str, str]]:
    return [(row.action, row.detail) for row in (await world.database.run(audit.page)).rows]


@pytest.mark.gen_test
async def test_there_and_back(jar: Jar, uni: Elsewhere, world: World) -> None:
    start = await jar.ask("/auth/sso/uni/start?next=/student/console/7")
    assert (start.code, start.headers["Location"]) == (303, "https://login.uni.example/?x=1")
    assert uni.callbacks == ["http://127.0.0.1:8080/auth/sso/uni/callback"]  # PUBLIC_URL, not the Host header
    cookie = next(line for line in start.headers.get_list("Set-Cookie") if line.startswith("cyberlab-sso="))
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    back = await jar.ask(CALLBACK)
    assert (back.code, back.headers["Location"]) == (303, "/student/console/7")
    assert jar.signed_in
    assert "cyberlab-sso" not in jar.cookies
    anna = await world.database.run(users.by_name, "anna", "uni")
    assert anna is not None
    assert anna.subject == "id-of-anna"

    left = await jar.ask("/auth/logout", {})
    assert left.headers["Location"] == "/auth/login?left=uni"
    page = text(await jar.ask("/auth/login?left=uni"))
    assert (
        'the page behind “Sign in with Uni” may know you still. <a href="/auth/sso/uni/logout">Sign out there too</a>'
        in page
    )
    out = await jar.ask("/auth/sso/uni/logout")
    assert out.headers["Location"] == "https://login.uni.example/logout?to=http://127.0.0.1:8080/auth/login"


@pytest.mark.gen_test
async def test_a_callback_replayed_or_of_another_browser(
    jar: Jar, http_client: AsyncHTTPClient, base_url: str, world: World
) -> None:
    await jar.ask("/auth/sso/uni/start")
    other = Jar(http_client, base_url)
    response = await other.ask(CALLBACK)
    assert response.code == 401
    assert "not begun in this browser" in text(response)
    assert (await jar.ask(CALLBACK)).code == 303
    again = Jar(http_client, base_url)
    again.cookies |= {name: value for name, value in jar.cookies.items() if name != "cyberlab"}
    assert (await again.ask(CALLBACK)).code == 401
    assert not other.signed_in
    assert not again.signed_in
    details = [detail for action, detail in await _audited(world) if action == "login.failure"]
    assert details == ["uni: state: not begun in this browser, or too long ago"] * 2


@pytest.mark.gen_test
async def test_a_cookie_is_for_its_backend_and_cannot_be_made(jar: Jar) -> None:
    await jar.ask("/auth/sso/uni/start")
    assert (await jar.ask("/auth/sso/other/callback?state=s")).code == 401
    jar.cookies["cyberlab-sso"] = '["uni", null, {"state": "s"}]'
    assert (await jar.ask(CALLBACK)).code == 401
    assert not jar.signed_in


@pytest.mark.parametrize("query", ["state=forged", "state=s&state=s", "", "state=s&x=" + "y" * 9000])
@pytest.mark.gen_test
async def test_a_forged_callback(jar: Jar, world: World, query: str) -> None:
    await jar.ask("/auth/sso/uni/start")
    assert (await jar.ask(f"/auth/sso/uni/callback?{query}")).code == 401
    assert not jar.signed_in
    assert [action for action, _ in await _audited(world)].count("login.failure") == 1


@pytest.mark.parametrize(
    ("error", "status", "words", "row"),
    [
        (SignInRefused("denied", "access_denied"), 401, "cancelled", "login.failure"),
        (SignInRefused("id-token", "BadSignature"), 401, "does not prove who you are", "login.failure"),
        (SignInRefused("client", "invalid_client"), 503, "does not take this portal as it is set up", "login.failure"),
        (SignInRefused("groups", "_claim_names"), 403, "does not name them all", "login.failure"),
        (BackendUnavailable("no route"), 503, "not reachable just now", "login.unavailable"),
    ],
)
@pytest.mark.gen_test
async def test_what_went_wrong_is_said_and_noted(
    jar: Jar, uni: Elsewhere, world: World, error: Exception, status: int, words: str, row: str
) -> None:
    await jar.ask("/auth/sso/uni/start")
    uni.fails = error
    response = await jar.ask(CALLBACK)
    assert response.code == status
    assert words in text(response)
    assert str(error) not in text(response)
    assert row in [action for action, _ in await _audited(world)]


@pytest.mark.gen_test
async def test_an_issuer_that_is_down_at_the_start(jar: Jar, uni: Elsewhere) -> None:
    uni.fails = BackendUnavailable("connection refused")
    response = await jar.ask("/auth/sso/uni/start")
    assert response.code == 503
    assert "not reachable" in text(response)


@pytest.mark.gen_test
async def test_one_that_hangs_holds_up_nobody_else(
    jar: Jar, uni: Elsewhere, http_client: AsyncHTTPClient, base_url: str
) -> None:
    uni.may_answer.clear()
    await jar.ask("/auth/sso/uni/start")
    waiting = asyncio.ensure_future(jar.ask(CALLBACK))
    other = Jar(http_client, base_url)
    assert (await other.password("student", PASSWORD)).code == 303
    assert not waiting.done()
    uni.may_answer.set()
    assert (await waiting).code == 303


@pytest.mark.gen_test
async def test_the_proxy_in_front_is_believed(http_client: AsyncHTTPClient, base_url: str) -> None:
    jar = Jar(http_client, base_url)
    response = await _with_headers(jar, "/auth/sso/shib/start?next=/student", "bert", "lab")
    assert (response.code, response.headers["Location"]) == (303, "/student")
    assert jar.signed_in


@pytest.mark.gen_test
async def test_a_header_from_elsewhere_is_not(jar: Jar, world: World) -> None:
    response = await _with_headers(jar, "/auth/sso/far/start", "admin", "lab", {"X-Forwarded-For": "192.0.2.1"})
    assert response.code == 403
    assert not jar.signed_in
    assert ("login.failure", "far: untrusted-proxy: 127.0.0.1 is not the proxy") in await _audited(world)
    # And nowhere but at its own address.
    for path in ("/student", "/auth/login", "/auth/sso/uni/start", "/auth/sso/shib/callback"):
        await _with_headers(jar, path, "admin", "lab")
    assert not jar.signed_in


@pytest.mark.gen_test
async def test_who_is_refused_can_leave_the_other_page(jar: Jar, uni: Elsewhere) -> None:
    """Else its session would bring the same person again at every further try, on a lab's PC too."""
    uni.groups = frozenset({"others"})
    await jar.ask("/auth/sso/uni/start")
    response = await jar.ask(CALLBACK)
    assert response.code == 403
    assert "may not use this portal" in text(response)
    assert 'at the page behind “Sign in with Uni”. <a href="/auth/sso/uni/logout">Sign out there</a>' in text(response)


@pytest.mark.gen_test
async def test_without_the_required_group(jar: Jar) -> None:
    response = await _with_headers(jar, "/auth/sso/shib/start", "bert", "nothing")
    assert response.code == 403
    assert "may not use this portal" in text(response)
    assert not jar.signed_in


async def _with_headers(
    jar: Jar, path: str, user: str, groups: str, more: dict[str, str] | None = None
) -> HTTPResponse:
    sent = {"X-Remote-User": user, "X-Groups": groups, **(more or {})}
    return await jar.ask(path, headers=sent)


@pytest.mark.gen_test
async def test_names_that_are_none(jar: Jar) -> None:
    for path in ("start", "callback", "logout"):
        assert (await jar.ask(f"/auth/sso/nobody/{path}")).code == 404
    assert (await jar.ask("/auth/sso/local/start")).code == 404


@pytest.mark.gen_test
async def test_the_page_has_a_button_for_each(jar: Jar) -> None:
    page = text(await jar.ask("/auth/login?next=/student"))
    assert 'href="/auth/sso/uni/start?next=%2Fstudent">Sign in with Uni</a>' in page
    assert ">Shibboleth</a>" in page
    assert 'name="password"' in page
    assert "Other ways" not in page


@pytest.mark.parametrize("hidden", [True])
@pytest.mark.gen_test
async def test_local_sign_in_behind_a_link(jar: Jar, hidden: bool) -> None:
    page = text(await jar.ask("/auth/login?next=/student"))
    assert 'name="password"' not in page
    assert 'href="/auth/login?all=1&amp;next=%2Fstudent"' in page
    assert 'name="password"' in text(await jar.ask("/auth/login?all=1"))
    wrong = await jar.password("student", "wrong")
    assert 'name="password"' in text(wrong)
    assert (await jar.password("student")).code == 303
