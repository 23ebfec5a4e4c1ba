"""The single sign-on servers as processes on 127.0.0.1, and how somebody without a screen signs in there."""

from __future__ import annotations

import contextlib
import html
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.services import require

HERE = Path(__file__).resolve().parent
PASSWORD = "correct horse"
CLIENT_ID, CLIENT_SECRET = "cyberlab", "an oidc secret: + & %"
_DEADLINE = 20.0
_REDIRECTS = 10


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def oidc_provider(redirect: str, after_logout: str, log: Path) -> Iterator[str]:
    """Run npm's oidc-provider; yield its issuer. Anybody may sign in with any password."""
    folder = require("oidc-provider")
    port = free_port()
    command = [require("node"), str(HERE / "provider.mjs"), folder, str(port), redirect, after_logout]
    with _running(command, port, log):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def cas_server(folder: Path) -> Iterator[str]:
    """Run django-cas-server; yield its address. "bert" may sign in."""
    port = free_port()
    command = [require("cas"), str(HERE / "run_cas.py"), str(port), str(folder / "cas.sqlite3")]
    with _running(command, port, folder / "cas.log"):
        yield f"http://127.0.0.1:{port}/cas"


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent) as process:
        try:
            end = time.monotonic() + _DEADLINE
            while not _listens(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Visitor:
    """A browser without a screen at somebody else's pages: keeps cookies by host, stops before ``home``."""

    def __init__(self, http: AsyncHTTPClient, home: str) -> None:
        self._http, self._home = http, home
        self._cookies: dict[str, dict[str, str]] = {}

    async def sign_in(self, url: str, fields: dict[str, str]) -> str:
        """Go there, send the form that is shown; return the address of ours that it ends at."""
        where, page = await self._go(url, None)
        if page is None:
            return where
        body = page.body.decode()
        action = re.search(r'<form[^>]*action="([^"]*)"', body)
        hidden = {}
        for tag in re.findall(r"<input[^>]*>", body):
            name, value = (re.search(rf'{key}="([^"]*)"', tag) for key in ("name", "value"))
            if name and value and 'type="hidden"' in tag:
                hidden[name[1]] = html.unescape(value[1])
        target = urljoin(where, html.unescape(action[1])) if action else where
        where, page = await self._go(target, hidden | fields)
        assert page is None, page.body.decode()
        return where

    async def _go(self, url: str, form: dict[str, str] | None) -> tuple[str, HTTPResponse | None]:
        for _ in range(_REDIRECTS):
            if url.startswith(self._home):
                return url, None
            jar = self._cookies.setdefault(urlsplit(url).netloc, {})
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}
            response = await self._http.fetch(
                url,
                method="GET" if form is None else "POST",
                body=None if form is None else urlencode(form),
                headers=headers | {"Accept": "text/html"},
                follow_redirects=False,
                raise_error=False,
            )
            for line in response.headers.get_list("Set-Cookie"):
                name, _, value = line.split(";")[0].partition("=")
                jar[name] = value
            if response.code not in (301, 302, 303):
                return url, response
            url, form = urljoin(url, response.headers["Location"]), None
        raise AssertionError(f"redirected for ever, at last to {url}")
