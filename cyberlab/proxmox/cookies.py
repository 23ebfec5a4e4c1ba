"""The auth cookie that Proxmox wants beside every ticket: made when first needed, kept for half an hour, one for all.

A root@pam cookie opens the whole cluster for two hours (PVE/AccessControl.pm). It stays in this object's memory: no
browser, log, login session or database ever sees it.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode, urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.flight import Flight
from cyberlab.proxmox.pvesh import failure
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.tls import NAME_MISMATCH, Trust
from cyberlab.settings import ClusterSettings

LIFETIME = 30 * 60.0  # seconds; Proxmox gives it two hours, minus five minutes for clocks that differ
TICKET_USER = "root@pam"  # pvesh runs as root and its tickets are root@pam's; the cookie's user must be the same
_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_ANSWER_LIMIT = 256 * 1024  # bytes; root's list of capabilities is the longest part
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
        self._flight: Flight[str] = Flight()

    async def get(self) -> str:
        """The cookie; whatever ``fetch`` raises."""
        if self._cookie and time.monotonic() < self._until:
            return self._cookie
        return await self._flight.join(self._renew)

    async def _renew(self) -> str:
        self._cookie = await self._fetch()
        self._until = time.monotonic() + LIFETIME
        return self._cookie

    def forget(self, cookie: str) -> None:
        """Proxmox refused ``cookie``; a newer one stays."""
        if cookie == self._cookie:
            self._cookie = ""

    def close(self) -> None:
        """End a request in flight."""
        self._flight.close()


def settings_problems(settings: ClusterSettings) -> list[str]:
    """What is wrong with the settings for the cookie, one line each, named as in the environment."""
    if settings.user == TICKET_USER:
        return []
    return [
        f"PROXMOX_USER: must be {TICKET_USER}; tickets come from pvesh, which is always {TICKET_USER}, and Proxmox "
        "takes no cookie of anybody else with them"
    ]


async def mint(ssh: SshPool) -> str:
    """Have the node sign a cookie for root@pam; raise Problem."""
    result = await ssh.run(MINT, timeout=_SECONDS, idempotent=True)
    if result.exit != 0:
        raise failure(result.exit, result.stderr)
    lines = result.stdout.split()
    return _checked(lines[-1] if lines else "")


async def sign_in(settings: ClusterSettings, trust: Trust) -> str:
    """Sign in at the HTTPS API by user and password, which travel in the body; raise Problem."""
    if found := settings_problems(settings):
        raise Problem(problems.COOKIE_REFUSED, found[0])
    for name in trust.server_names:
        try:
            return await _post(settings, trust, name)
        except ssl.SSLCertVerificationError as error:
            # The certificate names the node, not necessarily the address that we were given.
            if error.verify_code not in NAME_MISMATCH or name == trust.server_names[-1]:
                raise Problem(problems.TLS_MISMATCH, error.verify_message) from None
    raise Problem(problems.TLS_MISMATCH, "PROXMOX_HOST names no host")


async def _post(settings: ClusterSettings, trust: Trust, name: str) -> str:
    """One sign-in, with the certificate being for ``name``; raise Problem, SSLCertVerificationError."""
    address = urlsplit(settings.host)
    body = urlencode({"username": settings.user, "password": settings.password.get_secret_value()})
    request = HTTPRequest(
        f"https://{f'[{name}]' if ':' in name else name}:{address.port or 443}/api2/json/access/ticket",
        method="POST",
        body=body,
        ssl_options=trust.context,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_SECONDS,
        follow_redirects=False,
    )
    client = SimpleAsyncHTTPClient(
        force_instance=True, hostname_mapping={name: address.hostname}, max_body_size=_ANSWER_LIMIT
    )
    try:
        response = await client.fetch(request)
        data = json.loads(response.body)["data"]
        if data.get("NeedTFA"):
            raise Problem(problems.COOKIE_REFUSED, f"{settings.user} has a second factor; use the SSH key alone")
        return _checked(data["ticket"])
    except HTTPClientError as error:
        raise _http_problem(settings, error) from None
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as error:
        raise Problem(problems.TLS_MISMATCH, error.reason or str(error.args[-1])) from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Problem(problems.COOKIE_REFUSED, "the answer to the sign-in holds no ticket") from None
    except OSError as error:
        raise Problem(problems.API_UNREACHABLE, f"{settings.host}: {error.strerror or error}") from None
    finally:
        client.close()


def _http_problem(settings: ClusterSettings, error: HTTPClientError) -> Problem:
    if error.code == 401:
        return Problem(problems.COOKIE_REFUSED, f"Proxmox does not accept {settings.user} with PROXMOX_PASSWORD")
    if error.code == 599:  # Tornado's own: no answer, or none that is HTTP
        return Problem(problems.API_UNREACHABLE, f"{settings.host}: {error.message}")
    return Problem(problems.COOKIE_REFUSED, f"sign-in as {settings.user}: {error.code} {error.message}")


def _checked(cookie: str) -> str:
    if not cookie.startswith("PVE:") or not cookie.isascii() or not cookie.isprintable() or ";" in cookie:
        raise Problem(problems.COOKIE_REFUSED, "what came is no auth cookie")
    return cookie
