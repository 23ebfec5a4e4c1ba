"""The auth cookie: cached, minted over a real sshd, or fetched by password over verified TLS."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import cookies
from cyberlab.proxmox.cookies import LIFETIME, CookieCache, mint, settings_problems, sign_in
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.tls import trust_of
from cyberlab.settings import ClusterSettings
from tests.proxmox.authority import Authority, Certificate
from tests.sshd import Sshd

COOKIE = "PVE:root@pam:6B02E097::c2lnbmF0dXJl+/=="
PASSWORD = "p&ss w%rd+ü"


class Fetch:
    def __init__(self) -> None:
        self.asked = 0
        self.problem: Problem | None = None

    async def __call__(self) -> str:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0)
        if self.problem:
            raise self.problem
        return f"PVE:{number}"


@pytest.mark.gen_test
async def test_one_request_for_any_number_of_waiters() -> None:
    fetch = Fetch()
    cache = CookieCache(fetch)
    assert set(await asyncio.gather(*(cache.get() for _ in range(200)))) == {"PVE:1"}
    assert fetch.asked == 1


@pytest.mark.gen_test
async def test_kept_for_half_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(cookies, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cache = CookieCache(Fetch())
    assert await cache.get() == "PVE:1"
    now[0] += LIFETIME - 1.0
    assert await cache.get() == "PVE:1"
    now[0] += 2.0
    assert await cache.get() == "PVE:2"


@pytest.mark.gen_test
async def test_forgotten_once_however_many_were_refused() -> None:
    """A class of students gets a 401 for one old cookie: the first one's word counts, the rest get the new one."""
    fetch = Fetch()
    cache = CookieCache(fetch)
    old = await cache.get()
    for _ in range(20):
        cache.forget(old)
        assert await cache.get() == "PVE:2"
    assert fetch.asked == 2


@pytest.mark.gen_test
async def test_a_failure_is_not_kept() -> None:
    fetch = Fetch()
    cache = CookieCache(fetch)
    fetch.problem = Problem(problems.SSH_REFUSED)
    with pytest.raises(Problem):
        await cache.get()
    fetch.problem = None
    assert await cache.get() == "PVE:2"


@pytest.mark.gen_test(timeout=30)
async def test_minted_by_the_node(pool: SshPool, sshd: Sshd) -> None:
    assert await mint(pool) == "PVE:root@pam:6B02E097::signature1"
    arguments = (sshd.folder / "perl.log").read_text()
    assert arguments.startswith("-MPVE::RPCEnvironment -e PVE::RPCEnvironment->setup_default_cli_env();")
    assert "assemble_ticket(q(root@pam))" in arguments, "the shell has left it alone"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('echo "Can\'t locate PVE/RPCEnvironment.pm in @INC" >&2; exit 2', problems.PVESH_MISSING),
        (
            "echo \"unable to open '/etc/pve/priv/authkey.key' - Permission denied\" >&2; exit 13",
            problems.PVESH_MISSING,
        ),
        ("exit 0", problems.COOKIE_REFUSED),
        ("echo 'PVE:root@pam:1::x;Path=/'", problems.COOKIE_REFUSED),
        ("echo welcome", problems.COOKIE_REFUSED),
    ],
)
@pytest.mark.gen_test(timeout=30)
async def test_a_node_that_mints_nothing(pool: SshPool, sshd: Sshd, script: str, code: str) -> None:
    (sshd.folder / "bin" / "perl").write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(Problem) as caught:
        await mint(pool)
    assert caught.value.code == code


class Api:
    """Port 8006: answers one request a connection, and remembers what it was."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.body: Any = {"data": {"ticket": COOKIE, "username": "root@pam", "CSRFPreventionToken": "x"}}
        self.requests: list[tuple[str, dict[str, list[str]]]] = []
        self.port = 0

    @asynccontextmanager
    async def serve(self, certificate: Certificate) -> AsyncIterator[Api]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=certificate.context())
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
            body = (await reader.readexactly(length)).decode()
            self.requests.append((head.split("\r\n")[0], parse_qs(body)))
            answer = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
            writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def by_password(api: Api, **changes: object) -> ClusterSettings:
    values = {"host": f"https://127.0.0.1:{api.port}", "password": PASSWORD}
    return ClusterSettings(_env_file=None, **(values | changes))


async def refusal(settings: ClusterSettings, ca: str = "", nodes: tuple[str, ...] = ()) -> Problem:
    with pytest.raises(Problem) as caught:
        await sign_in(settings, trust_of(settings, ca, nodes))
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.gen_test
async def test_by_password(authority: Authority) -> None:
    async with Api().serve(authority.issue("127.0.0.1")) as api:
        settings = by_password(api)
        assert await sign_in(settings, trust_of(settings, authority.pem, ())) == COOKIE
    line, body = api.requests[0]
    assert line == "POST /api2/json/access/ticket HTTP/1.1"
    assert body == {"username": ["root@pam"], "password": [PASSWORD]}


@pytest.mark.gen_test
async def test_a_certificate_for_the_nodes_name(authority: Authority) -> None:
    """The address that we were given is not in it; the connection goes there all the same."""
    async with Api().serve(authority.issue("pve2")) as api:
        settings = by_password(api)
        assert await sign_in(settings, trust_of(settings, authority.pem, ("pve1", "pve2"))) == COOKIE
    assert len(api.requests) == 1


@pytest.mark.gen_test
async def test_a_pinned_certificate() -> None:
    certificate = Authority().issue("whatever")
    async with Api().serve(certificate) as api:
        settings = by_password(api, tls_fingerprint=certificate.fingerprint)
        assert await sign_in(settings, trust_of(settings, "", ())) == COOKIE


@pytest.mark.gen_test
async def test_the_password_goes_to_nobody_else(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Api().serve(authority.issue("pve9")) as api:
        settings = by_password(api)
        for ca, nodes in (("", ()), (Authority().pem, ("pve9",)), (authority.pem, ("pve1",)), (authority.pem, ())):
            assert (await refusal(settings, ca, nodes)).code == problems.TLS_MISMATCH
        pinned = by_password(api, tls_fingerprint="ab" * 32)
        assert (await refusal(pinned)).code == problems.TLS_MISMATCH
        assert api.requests == []
        unverified = by_password(api, tls_insecure_skip_verify=True)
        assert await sign_in(unverified, trust_of(unverified, "", ())) == COOKIE
    assert PASSWORD not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        ("401 authentication failure", b"", problems.COOKIE_REFUSED),
        ("500 unexplained", b"", problems.COOKIE_REFUSED),
        ("301 Moved Permanently", b"", problems.COOKIE_REFUSED),
        ("200 OK", b"<html>", problems.COOKIE_REFUSED),
        ("200 OK", b"\xff\xfe", problems.COOKIE_REFUSED),
        ("200 OK", b"[]", problems.COOKIE_REFUSED),
        ("200 OK", b'{"data":null}', problems.COOKIE_REFUSED),
        ("200 OK", b'{"data":{"ticket":7}}', problems.COOKIE_REFUSED),
        ("200 OK", b'{"data":{"ticket":"PVE:!tfa!x","NeedTFA":1}}', problems.COOKIE_REFUSED),
        ("200 OK", b"x" * (1 << 20), problems.API_UNREACHABLE),
    ],
)
@pytest.mark.gen_test
async def test_answers_that_are_no_cookie(authority: Authority, status: str, body: bytes, code: str) -> None:
    api = Api()
    api.status, api.body = status, body
    async with api.serve(authority.issue("127.0.0.1")):
        assert (await refusal(by_password(api), authority.pem)).code == code


@pytest.mark.gen_test
async def test_nobody_there() -> None:
    api = Api()
    async with api.serve(Authority().issue("127.0.0.1")):
        pass
    assert (await refusal(by_password(api))).code == problems.API_UNREACHABLE


@pytest.mark.gen_test
async def test_no_tls_there() -> None:
    def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        api = Api()
        api.port = server.sockets[0].getsockname()[1]
        assert (await refusal(by_password(api))).code == problems.TLS_MISMATCH


@pytest.mark.gen_test
async def test_silence(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookies, "_SECONDS", 0.2)

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        writer.close()

    async with await asyncio.start_server(quiet, "127.0.0.1", 0) as server:
        api = Api()
        api.port = server.sockets[0].getsockname()[1]
        assert (await refusal(by_password(api))).code == problems.API_UNREACHABLE


@pytest.mark.gen_test
async def test_another_user_than_the_tickets(authority: Authority) -> None:
    """Proxmox takes no ticket of root@pam with somebody else's cookie: said before anything is sent."""
    assert settings_problems(ClusterSettings(_env_file=None)) == []
    async with Api().serve(authority.issue("127.0.0.1")) as api:
        settings = by_password(api, user="portal@pve")
        assert settings_problems(settings)[0].startswith("PROXMOX_USER: ")
        assert (await refusal(settings, authority.pem)).code == problems.COOKIE_REFUSED
    assert api.requests == []
