"""A browser without a screen that keeps its cookies, and what an authenticator app would show."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from urllib.parse import urlencode

import pyotp
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.web import PASSWORD, XSRF, text

NOW = time.time()  # for Factors.clock too, so that no step ends between a code's making and its use


class Jar:
    """One browser: its cookies stay, redirects are not followed."""

    def __init__(self, http: AsyncHTTPClient, base: str, user_agent: str = "Firefox/140 Linux") -> None:
        self._http, self._base, self._agent = http, base, user_agent
        self.cookies: dict[str, str] = {"_xsrf": XSRF}

    async def ask(
        self, path: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        """GET, or POST a form."""
        headers = dict(headers or {}) | {
            "Accept": "text/html",
            "User-Agent": self._agent,
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode({"_xsrf": XSRF, **form})
        response = await self._http.fetch(
            self._base + path,
            method="GET" if form is None else "POST",
            body=body,
            headers=headers,
            follow_redirects=False,
            raise_error=False,
        )
        for line in response.headers.get_list("Set-Cookie"):
            name, _, value = line.split(";")[0].partition("=")
            if value in ("", '""'):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return response

    async def password(self, who: str, password: str = PASSWORD, next_: str = "") -> HTTPResponse:
        """Send the sign-in form."""
        return await self.ask("/auth/login", {"username": who, "password": password, "next": next_})

    @property
    def signed_in(self) -> bool:
        """Whether there is the cookie of a login session."""
        return "cyberlab" in self.cookies

    async def enrol(self, path: str = "/account/totp") -> tuple[App, list[str]]:
        """Set up an app on that page; return it with the recovery codes that were shown."""
        app = App.shown(await self.ask(path))
        done = await self.ask(path, {"code": app.code(-1), "name": "phone"})
        return app, codes(done)


class App:
    """An authenticator app. ``shift`` picks another time step, as a used one is refused: -1, 0 and 1 are accepted."""

    def __init__(self, secret: str) -> None:
        self._totp = pyotp.TOTP(secret)

    @classmethod
    def shown(cls, page: HTTPResponse) -> App:
        """Type the key from the page."""
        found = re.search(r'<code class="secret">([^<]+)</code>', text(page))
        assert found is not None, text(page)
        return cls(found[1].replace(" ", ""))

    def code(self, shift: int = 0) -> str:
        """What it shows, so many steps from now."""
        return self._totp.generate_otp(int(NOW // 30) + shift)


def codes(page: HTTPResponse) -> list[str]:
    """The recovery codes on a page."""
    return re.findall(r"<li><code>([^<]+)</code></li>", text(page))
