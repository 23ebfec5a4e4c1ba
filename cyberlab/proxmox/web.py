"""A node's web port: one request, one answer, verified TLS, a deadline, and no more than so many bytes."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.tls import NAME_MISMATCH, Trust
from cyberlab.proxmox.trouble import Unreachable, plain
from cyberlab.settings import ClusterSettings

API = "/api2/json"
ANSWER_LIMIT = 8 << 20  # bytes; an inventory of ten thousand machines has five million
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: ``phrase`` is Proxmox's message, in the status line, and what it says of parameters that do not fit.

    ``data`` may hold tickets.
    """

    status: int
    phrase: str
    data: Any = field(default=None, repr=False)


class Web:
    """Requests to one node's API."""

    def __init__(self, settings: ClusterSettings) -> None:
        """Connects for each request anew, as pveproxy is quick at that (0.04 s with the call)."""
        self._settings = settings
        self._clients: dict[str, SimpleAsyncHTTPClient] = {}  # by the name that the certificate is for
        self._good = ""  # the name that fitted last

    async def ask(
        self, trust: Trust, method: str, path: str, fields: Mapping[str, str], *,
        headers: Mapping[str, str], timeout: float, repeatable: bool = True,
    ) -> Answer:  # fmt: skip
        """One request; ``fields`` go into the query of a GET or DELETE, else into the body. ``timeout``: seconds.

        Raises Problem(TLS_MISMATCH); Unreachable(API_UNREACHABLE) when it was not asked, or when that does not matter
        (``repeatable``); Problem(API_UNREACHABLE) and Problem(PVESH_TIMEOUT) when nobody knows.
        """
        names = sorted(trust.server_names, key=lambda name: name != self._good)
        for name in names:
            try:
                answer = await self._ask(trust, name, method, path, fields, headers, timeout, repeatable)
            except ssl.SSLCertVerificationError as error:
                # The certificate names the node, not necessarily the address that we were given.
                if error.verify_code not in NAME_MISMATCH or name == names[-1]:
                    raise Problem(problems.TLS_MISMATCH, error.verify_message) from None
                continue
            self._good = name
            return answer
        raise Problem(problems.TLS_MISMATCH, "PROXMOX_HOST names no host")

    async def _ask(
        self, trust: Trust, name: str, method: str, path: str, fields: Mapping[str, str],
        headers: Mapping[str, str], timeout: float, repeatable: bool,
    ) -> Answer:  # fmt: skip
        settings = self._settings
        encoded = urlencode(fields)
        in_body = method in ("POST", "PUT")
        address = urlsplit(settings.host)
        request = HTTPRequest(
            f"https://{f'[{name}]' if ':' in name else name}:{address.port or 443}{API}{path}"
            + (f"?{encoded}" if encoded and not in_body else ""),
            method=method,
            body=encoded if in_body else None,
            headers=dict(headers),
            ssl_options=trust.context,
            connect_timeout=min(_CONNECT_SECONDS, timeout),
            request_timeout=timeout,
            follow_redirects=False,
        )
        try:
            response = await self._client(name).fetch(request, raise_error=False)
        except HTTPTimeoutError as error:
            if "during request" not in str(error.message):  # Tornado's words for names, TCP, TLS and its own queue
                raise Unreachable(problems.API_UNREACHABLE, f"{settings.host}: {error.message}") from None
            raise Problem(problems.PVESH_TIMEOUT, f"{settings.host}: no answer within {timeout:.0f} s") from None
        except HTTPClientError as error:  # closed before an answer, or what came is not HTTP
            kind = Unreachable if repeatable else Problem
            raise kind(problems.API_UNREACHABLE, f"{settings.host}: {error.message}") from None
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError):
            kind = Unreachable if repeatable else Problem
            raise kind(problems.API_UNREACHABLE, f"{settings.host}: the TLS connection was closed") from None
        except ValueError as error:
            if "IOStream is not idle" not in str(error):  # Tornado's word for one that is closed before TLS has begun
                raise
            raise Unreachable(problems.API_UNREACHABLE, f"{settings.host}: closed at once") from None
        except ssl.SSLError as error:
            reason = getattr(error, "reason", None) or str(error)  # not every one has a reason
            raise Problem(problems.TLS_MISMATCH, reason) from None
        except OSError as error:
            asked = isinstance(error, ConnectionResetError | BrokenPipeError)
            raise (Unreachable if repeatable or not asked else Problem)(
                problems.API_UNREACHABLE, f"{settings.host}: {error.strerror or error}"
            ) from None
        try:
            body = json.loads(response.body) if response.body else None
        except ValueError:
            body = None
        # An error's body may be anything; a caller looks at the status, and then for what it needs.
        told: dict[str, Any] = body if isinstance(body, dict) else {}
        phrase = response.reason or ""
        if isinstance(errors := told.get("errors"), dict):
            phrase = " ".join([phrase, *(f"{name}: {complaint}".strip() for name, complaint in errors.items())])
        return Answer(response.code, plain(phrase), told.get("data"))

    def _client(self, name: str) -> SimpleAsyncHTTPClient:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = SimpleAsyncHTTPClient(
                force_instance=True,
                max_clients=self._settings.calls_at_once + 2,  # the line is before the node, not in here
                hostname_mapping={name: urlsplit(self._settings.host).hostname},
                max_body_size=ANSWER_LIMIT,
                max_buffer_size=2 * ANSWER_LIMIT,
            )
        return client

    def close(self) -> None:
        """Let go of the clients."""
        for client in self._clients.values():
            client.close()
