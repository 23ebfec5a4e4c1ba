"""A script that speaks to the API."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from cyberlab.db import tokens
from cyberlab.db.tokens import Scope
from tests.web import TEST, World


@dataclass
class Script:
    """Asks with a token of whom it is told to be."""

    http: AsyncHTTPClient
    base: str
    world: World

    def token(self, who: str, scopes: Collection[Scope] = tuple(Scope)) -> str:
        """A new token of that user."""
        _, text = self.world.database.call(
            tokens.create, TEST, self.world.users[who], name="script", scopes=scopes, expires_at=None
        )
        return text

    async def ask(
        self, method: str, path: str, token: str = "", body: Any = None, **headers: str
    ) -> tuple[HTTPResponse, Any]:
        """The response, and its JSON."""
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            sent["Content-Type"] = "application/json"
        response = await self.http.fetch(
            f"{self.base}/api/v1{path}",
            method=method,
            headers=sent | headers,
            body=json.dumps(body) if body is not None else None,
            allow_nonstandard_methods=True,
            raise_error=False,
            follow_redirects=False,
        )
        return response, json.loads(response.body) if response.body else None


@pytest.fixture
def script(http_client: AsyncHTTPClient, base_url: str, world: World) -> Script:
    """A script, and the portal that it speaks to."""
    return Script(http_client, base_url, world)
