"""The cluster's own CA, asked once for however many need it: the answer of termproxy does not carry it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from cyberlab.proxmox.flight import Flight

MAX_AGE = 1800.0  # seconds: a CA that was renewed is known within half an hour


class AuthorityCache:
    """Keeps the CA for MAX_AGE; one call in flight for any number of waiters."""

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        """``fetch`` asks the cluster; it has its own deadline."""
        self._fetch = fetch
        self._asked_at = float("-inf")
        self._pem = ""
        self._flight: Flight[str] = Flight()

    async def get(self) -> str:
        """PEM, '' where the settings say what to trust; whatever ``fetch`` raises."""
        if time.monotonic() - self._asked_at <= MAX_AGE:
            return self._pem
        return await self._flight.join(self._renew)

    async def _renew(self) -> str:
        asked_at = time.monotonic()
        self._pem = await self._fetch()
        self._asked_at = asked_at
        return self._pem

    def close(self) -> None:
        """End a call in flight."""
        self._flight.close()
