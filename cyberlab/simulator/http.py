"""HTTP/1.1 as pveproxy reads and writes it (PVE/APIServer/AnyEvent.pm)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

MAX_HEAD = 8 * 1024
MAX_HEADERS = 64
MAX_BODY = 64 * 1024


class Unanswered(Exception):
    """A request that pveproxy drops without a response."""


class HttpError(Exception):
    """A status with its reason phrase, which carries the text; the body is ``{"data":null}`` at most."""

    def __init__(self, status: int, reason: str, *, body: bool = True, errors: Mapping[str, str] | None = None) -> None:
        """``errors``: complaints about parameters, by name, for the body."""
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.body = body
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> Mapping[str, str]:
        """The parameters of the body, urlencoded or JSON."""
        if self.headers.get("content-type", "").startswith("application/json"):
            try:
                fields = json.loads(self.body)
            except ValueError:
                fields = None
            if not isinstance(fields, dict):
                raise HttpError(400, "unable to decode JSON parameters")
            return {str(name): str(value) for name, value in fields.items()}
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request, None at the end of the connection. Raises Unanswered for what breaks pveproxy's limits."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise Unanswered("headers over 8 KiB") from None
    lines = head[:-4].decode("latin-1").split("\r\n")
    if len(head) > MAX_HEAD or len(lines) - 1 > MAX_HEADERS:
        raise Unanswered("headers over 8 KiB or 64 lines")
    try:
        method, target, _ = lines[0].split(" ")
        pairs = [line.split(":", 1) for line in lines[1:]]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise Unanswered("malformed request") from None
    if not 0 <= length <= MAX_BODY:
        raise Unanswered("body too large")
    body = await reader.readexactly(length)
    path, _, query = target.partition("?")
    return Request(method, unquote(path), dict(parse_qsl(query, keep_blank_values=True)), headers, body)


def response(
    status: int,
    reason: str,
    body: bytes | None,
    *,
    keep: bool,
    extra: Mapping[str, str] | None = None,
    now: float | None = None,
) -> bytes:
    """A whole response; ``keep``: the connection stays open behind it; ``now``: the node's time, for its date.

    Without a body its length is not told: its end is the connection's (AnyEvent.pm, response).
    """
    lines = [
        f"HTTP/1.1 {status} {reason}",
        "Cache-Control: max-age=0",
        f"Connection: {'Keep-Alive' if keep else 'close'}",
        f"Date: {formatdate(now, usegmt=True)}",
        "Pragma: no-cache",
        "Server: pve-api-daemon/3.0",
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if body is not None:
        lines.append("Content-Type: application/json;charset=UTF-8")
    lines += [f"{name}: {value}" for name, value in (extra or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")
