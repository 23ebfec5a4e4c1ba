"""Signing in at the web port, by password or by a cookie, over verified TLS."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox import cookies
from cyberlab.proxmox.cookies import settings_problems
from cyberlab.proxmox.passes import Pass
from cyberlab.proxmox.tls import Trust, trust_of
from cyberlab.proxmox.trouble import Unreachable
from cyberlab.proxmox.web import Web
from cyberlab.settings import ClusterSettings
from tests.proxmox.authority import Authority, Certificate

COOKIE = "PVE:root@pam:6B02E097::c2lnbmF0dXJl+/=="
PASSWORD = "p&ss w%rd+ü"


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


async def sign_in(settings: ClusterSettings, trust: Trust) -> Pass:
    web = Web(settings)
    try:
        return await cookies.sign_in(web, trust, settings.user, settings.password.get_secret_value())
    finally:
        web.close()


async def refusal(settings: ClusterSettings, ca: str = "", nodes: tuple[str, ...] = ()) -> Problem:
    with pytest.raises(Problem) as caught:
        await sign_in(settings, trust_of(settings, ca, nodes))
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.gen_test
async def test_by_password(authority: Authority) -> None:
    async with Api().serve(authority.issue("127.0.0.1")) as api:
        settings = by_password(api)
        assert (await sign_in(settings, trust_of(settings, authority.pem, ()))).cookie == COOKIE
    line, body = api.requests[0]
    assert line == "POST /api2/json/access/ticket HTTP/1.1"
    assert body == {"username": ["root@pam"], "password": [PASSWORD]}


@pytest.mark.gen_test
async def test_a_certificate_for_the_nodes_name(authority: Authority) -> None:
    """The address that we were given is not in it; the connection goes there all the same."""
    async with Api().serve(authority.issue("pve2")) as api:
        settings = by_password(api)
        assert (await sign_in(settings, trust_of(settings, authority.pem, ("pve1", "pve2")))).cookie == COOKIE
    assert len(api.requests) == 1


@pytest.mark.gen_test
async def test_a_pinned_certificate() -> None:
    certificate = Authority().issue("whatever")
    async with Api().serve(certificate) as api:
        settings = by_password(api, tls_fingerprint=certificate.fingerprint)
        assert (await sign_in(settings, trust_of(settings, "", ()))).cookie == COOKIE


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
        assert (await sign_in(unverified, trust_of(unverified, "", ()))).cookie == COOKIE
    assert PASSWORD not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        ("401 authentication failure", b"", problems.COOKIE_REFUSED),
        ("500 unexplained", b"", problems.COOKIE_REFUSED),
        ("403 Forbidden", b"", problems.COOKIE_REFUSED),
        ("301 Moved Permanently", b"", problems.COOKIE_REFUSED),
        ("200 OK", b"<html>", problems.COOKIE_REFUSED),
        ("200 OK", b"\xff\xfe", problems.COOKIE_REFUSED),
        ("200 OK", b"[]", problems.COOKIE_REFUSED),
        ("200 OK", b'{"data":null}', problems.COOKIE_REFUSED),
        ("200 OK", b'{"data":{"ticket":7}}', problems.COOKIE_REFUSED),
        ("200 OK", b'{"data":{"ticket":"PVE:!tfa!x","NeedTFA":1}}', problems.COOKIE_REFUSED),
        ("200 OK", b"x" * (9 << 20), problems.API_UNREACHABLE),
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


@pytest.mark.parametrize("first", [0, 1], ids=["at once", "after our first byte"])
@pytest.mark.gen_test
async def test_an_address_that_pveproxy_keeps_out(first: int) -> None:
    """It accepts and closes (AnyEvent.pm, accept_connections)."""

    async def deny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(first)
        writer.close()

    async with await asyncio.start_server(deny, "127.0.0.1", 0) as server:
        api = Api()
        api.port = server.sockets[0].getsockname()[1]
        problem = await refusal(by_password(api))
    assert problem.code == problems.API_UNREACHABLE
    assert isinstance(problem, Unreachable), "so that another node is asked"


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


def test_another_user_than_the_tickets() -> None:
    """Proxmox takes no ticket of root@pam with somebody else's cookie; over HTTPS both are the same user's."""
    assert settings_problems(ClusterSettings(_env_file=None)) == []
    assert settings_problems(ClusterSettings(_env_file=None, user="portal@pve"))[0].startswith("PROXMOX_USER: ")
    assert settings_problems(ClusterSettings(_env_file=None, user="portal@pve", source="https")) == []


@pytest.mark.gen_test
async def test_what_goes_with_a_request(authority: Authority) -> None:
    async with Api().serve(authority.issue("127.0.0.1")) as api:
        settings = by_password(api)
        got = await sign_in(settings, trust_of(settings, authority.pem, ()))
    assert got.headers == (("Cookie", f"PVEAuthCookie={COOKIE}"),)
    assert got.csrf == "x"
    assert repr(got) == "Pass(user='root@pam')"
    token = Pass.of_token("portal@pve!lab", "the-secret")
    assert token.headers == (("Authorization", "PVEAPIToken=portal@pve!lab=the-secret"),)
    assert "the-secret" not in repr(token)
