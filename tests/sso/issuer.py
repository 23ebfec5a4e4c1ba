"""An OpenID Connect issuer on a real socket that says whatever a test wants."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import Key, RSAKey
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from cyberlab.auth.base import Identity
from cyberlab.auth.oidc import OidcBackend

CLIENT_ID = "cyberlab"
CALLBACK = "http://127.0.0.1:9/auth/sso/uni/callback"


class Issuer:
    """``claims`` and ``sign`` make the ID token; ``asked`` lists the paths that were asked for."""

    def __init__(self) -> None:
        """Listen on 127.0.0.1."""
        sock, port = bind_unused_port()
        self.url = f"http://127.0.0.1:{port}"
        self.key: Key = RSAKey.generate_key(2048, {"kid": "one"})
        self.published: list[Key] = [self.key]
        self.claims: dict[str, Any] = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "id-of-anna",
            "preferred_username": "anna",
            "name": "Anna A.",
            "email": "anna@uni.example",
            "groups": ["lab-users"],
            "iat": int(time.time()),
            "exp": int(time.time()) + 300,
        }
        self.nonce: str | None = None
        self.sign: Callable[[dict[str, Any]], object] = self.signed
        self.userinfo: dict[str, Any] | str | None = None  # a text: a token of type application/jwt
        self.clients: set[tuple[str, str]] = set()  # who may ask the token endpoint, header by form; empty: everybody
        self.metadata: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
        }
        self.asked: list[str] = []
        self.codes = {"good"}
        self._server = HTTPServer(Application([("/.*", _Answer, {"issuer": self})]))
        self._server.add_sockets([sock])

    def signed(self, claims: dict[str, Any], alg: str = "RS256") -> str:
        """A token as it should be."""
        named = {"kid": self.key.kid} if self.key.kid else {}
        return jwt.encode({"alg": alg} | named, claims, self.key, algorithms=[alg])

    def unsigned(self, claims: dict[str, Any]) -> str:
        """A token with alg none (RFC 8725, section 2.1)."""
        return f"{_part({'alg': 'none', 'kid': 'one'})}.{_part(claims)}."

    def confused(self, claims: dict[str, Any]) -> str:
        """A token signed by HMAC with the public key, which everybody has."""
        head = f"{_part({'alg': 'HS256', 'kid': 'one'})}.{_part(claims)}"
        tag = hmac.new(self.key.as_pem(private=False), head.encode(), hashlib.sha256).digest()
        return f"{head}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"

    def answer_to(self, url: str) -> dict[str, str]:
        """What the browser brings back from that authorization request; the token will carry its nonce."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.nonce = asked["nonce"]
        return {"state": asked["state"], "code": "good"}

    async def stop(self) -> None:
        """Listen no more."""
        self._server.stop()
        await self._server.close_all_connections()


def serving(io_loop: IOLoop) -> Iterator[Issuer]:
    """An issuer for a fixture."""
    made: list[Issuer] = []

    async def make() -> None:
        made.append(Issuer())

    io_loop.run_sync(make)
    yield made[0]
    io_loop.run_sync(made[0].stop)


async def finish(backend: OidcBackend, issuer: Issuer, **arguments: str) -> Identity:
    """Begin a sign-in and bring back the issuer's answer; ``arguments``: instead of what it says."""
    start = await backend.begin(CALLBACK)
    return await backend.finish(CALLBACK, start.state, issuer.answer_to(start.url) | arguments)


class _Answer(RequestHandler):
    def initialize(self, issuer: Issuer) -> None:
        self.issuer = issuer

    def get(self) -> None:
        self._answer()

    def post(self) -> None:
        self._answer()

    def _answer(self) -> None:
        issuer, path = self.issuer, self.request.path
        issuer.asked.append(path)
        if path.endswith("openid-configuration"):
            self.finish(issuer.metadata)
        elif path == "/jwks":
            self.finish({"keys": [key.as_dict(private=False) for key in issuer.published]})
        elif path == "/userinfo" and issuer.userinfo is not None:
            if isinstance(issuer.userinfo, str):
                self.set_header("Content-Type", "application/jwt;charset=UTF-8")
            self.finish(issuer.userinfo)
        elif path == "/token" and issuer.clients and self._client() not in issuer.clients:
            self.set_status(401)
            self.finish({"error": "invalid_client", "error_description": "Wrong\r\ncredentials"})
        elif path == "/token" and self.get_body_argument("code") in issuer.codes:
            issuer.codes.discard(self.get_body_argument("code"))
            token = issuer.sign({"nonce": issuer.nonce, **issuer.claims})
            self.finish({"access_token": "at", "token_type": "Bearer", "id_token": token})
        else:
            self.set_status(400)
            self.finish({"error": "invalid_grant"})

    def _client(self) -> tuple[str, str]:
        header, form = self.request.headers.get("Authorization", ""), self.get_body_argument("client_secret", "")
        return (base64.b64decode(header.removeprefix("Basic ")).decode(), form)


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
