"""Asks single sign-on servers over HTTP: with deadlines, bounded answers, verified TLS, and no redirects followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPResponse

from cyberlab.auth.base import BackendUnavailable

LARGEST = 1 << 20  # bytes of an answer
CONNECT_TIMEOUT = 4.0  # seconds
REQUEST_TIMEOUT = 6.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def server_url(value: str, *, query: bool = False) -> str:
    """Check the address of a server that vouches for people: TLS, save on this very host; raise ValueError.

    ``query``: whether it may have one.
    """
    try:
        parts = urlsplit(value)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none
        whole = False
    if not whole or (parts.query and not query) or parts.fragment or parts.username is not None:
        raise ValueError("must be an address like https://login.uni.example/path")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("must begin with https://")
    return value


class Remote:
    """The HTTP client of one backend; made at its first use, since it belongs to the running loop."""

    def __init__(self, ca_file: Path | None = None) -> None:
        """``ca_file``: the authorities to trust instead of the system's."""
        self._ca_file = str(ca_file) if ca_file else None
        self._client: AsyncHTTPClient | None = None

    async def get(self, url: str, arguments: dict[str, str] | None = None, token: str = "") -> HTTPResponse:
        """GET; ``token``: a bearer token (RFC 6750). Raise BackendUnavailable unless there is an answer at all."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self._fetch(with_query(url, arguments or {}), method="GET", headers=headers)

    async def post(self, url: str, form: dict[str, str], headers: dict[str, str]) -> HTTPResponse:
        """POST a form; raise BackendUnavailable unless there is an answer at all."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        return await self._fetch(url, method="POST", headers=headers, body=urlencode(form))

    async def _fetch(self, url: str, **request: Any) -> HTTPResponse:
        if self._client is None:
            self._client = AsyncHTTPClient(force_instance=True, max_clients=50, max_body_size=LARGEST)
        host = urlsplit(url).netloc
        request["headers"] = {"Accept": "application/json, */*;q=0.5", **request["headers"]}
        try:
            response = await self._client.fetch(
                url,
                **request,
                follow_redirects=False,
                raise_error=False,
                connect_timeout=CONNECT_TIMEOUT,
                request_timeout=REQUEST_TIMEOUT,
                ca_certs=self._ca_file,
            )
        except (OSError, HTTPError, ValueError) as error:
            raise BackendUnavailable(f"{host}: {_words(error)}") from None
        if response.code >= 500:  # 599: none in time
            raise BackendUnavailable(f"{host}: {_words(response.error) if response.error else response.code}")
        return response

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None


def with_query(url: str, arguments: dict[str, str]) -> str:
    """The address with these arguments behind those that it has already."""
    if not arguments:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(arguments)}"


def json_object(response: HTTPResponse) -> dict[str, Any]:
    """The answer's JSON object; raise BackendUnavailable for what is none."""
    try:
        content = json.loads(response.body)
    except (ValueError, RecursionError):
        content = None
    if response.code != 200 or not isinstance(content, dict):
        raise BackendUnavailable(f"{urlsplit(response.effective_url).netloc}: no JSON object, status {response.code}")
    return content


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
