"""The auth cookie that Proxmox wants beside every ticket: made when first needed, kept for half an hour, one for all.

A root@pam cookie opens the whole cluster for two hours (PVE/AccessControl.pm). It stays in this object's memory: no
browser, log, login session or database ever sees it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.pvesh import failure
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.tls import Trust, pinned_context
from cyberlab.settings import ClusterSettings

LIFETIME = 30 * 60.0  # seconds; Proxmox gives it two hours, minus five minutes for clocks that differ
TICKET_USER = "root@pam"  # pvesh runs as root and its tickets are root@pam's; the cookie's user must be the same
_SECONDS = 15.0
# Root on a node needs no password: the node's own library signs the cookie (PVE/AccessControl.pm, assemble_ticket).
MINT = (
    "perl -MPVE::RPCEnvironment -e "
    "'PVE::RPCEnvironment->setup_default_cli_env(); print PVE::AccessControl::assemble_ticket(q(root@pam))'"
)


class CookieCache:
    """One cookie for any number of waiters, and one request in flight to get it."""

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        """``fetch`` gets a new cookie; it has its own deadline."""
        self._fetch = fetch
        self._cookie = ""
        self._until = 0.0
        self._flight: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """The cookie; whatever ``fetch`` raises."""
        if self._cookie and time.monotonic() < self._until:
            return self._cookie
        if self._flight is None:
            self._flight = asyncio.create_task(self._renew())
        # Shielded: a browser that goes away must not take the cookie from everybody else who waits for it.
        return await asyncio.shield(self._flight)

    async def _renew(self) -> str:
        try:
            cookie = await self._fetch()
            self._cookie, self._until = cookie, time.monotonic() + LIFETIME
            return cookie
        finally:
            self._flight = None

    def forget(self, cookie: str) -> None:
        """Proxmox refused ``cookie``; a newer one stays."""
        if cookie == self._cookie:
            self._cookie = ""

    def close(self) -> None:
        """End a request in flight."""
        if self._flight is not None:
            self._flight.cancel()


async def mint(ssh: SshPool) -> str:
    """Have the node sign a cookie for root@pam; raise Problem."""
    result = await ssh.run(MINT, timeout=_SECONDS, idempotent=True)
    if result.exit != 0:
        raise failure(result.exit, result.stderr)
    lines = result.stdout.split()
    return _checked(lines[-1] if lines else "")


async def sign_in(settings: ClusterSettings, trust: Trust) -> str:
    """Sign in at the HTTPS API by user and password, which travel in the body; raise Problem."""
    password = settings.password.get_secret_value()
    request = HTTPRequest(
        f"{settings.host}/api2/json/access/ticket",
        method="POST",
        body=urlencode({"username": settings.user, "password": password}),
        ssl_options=pinned_context(trust),
        connect_timeout=5.0,
        request_timeout=_SECONDS,
        follow_redirects=False,
    )
    client = SimpleAsyncHTTPClient(force_instance=True)
    try:
        response = await client.fetch(request)
        data = json.loads(response.body)["data"]
        if data.get("NeedTFA"):
            raise Problem(problems.COOKIE_REFUSED, f"{settings.user} has a second factor; use the SSH key alone")
        return _checked(data["ticket"])
    except HTTPTimeoutError:
        raise Problem(problems.API_UNREACHABLE, f"{settings.host} did not answer in time") from None
    except HTTPClientError as error:
        code = problems.COOKIE_REFUSED if error.code == 401 else problems.UPGRADE_FAILED
        raise Problem(code, f"sign-in as {settings.user}: {error.code} {error.message}") from None
    except (KeyError, TypeError, ValueError):
        raise Problem(problems.COOKIE_REFUSED, "the answer to the sign-in holds no ticket") from None
    except OSError as error:
        raise _connection_problem(settings.host, error) from None
    finally:
        client.close()


def _connection_problem(host: str, error: OSError) -> Problem:
    """What a failed HTTPS connection means."""
    if isinstance(error, ssl.SSLError):
        return Problem(problems.TLS_MISMATCH, getattr(error, "verify_message", "") or str(error.args[-1]))
    return Problem(problems.API_UNREACHABLE, f"{host}: {error.strerror or error}")


def _checked(cookie: str) -> str:
    if not cookie.startswith("PVE:") or not cookie.isascii() or not cookie.isprintable() or ";" in cookie:
        raise Problem(problems.COOKIE_REFUSED, "what came is no auth cookie")
    return cookie
