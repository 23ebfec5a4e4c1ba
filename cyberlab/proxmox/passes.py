"""What says to Proxmox who asks: an API token, or an auth cookie; kept for half an hour, one for all.

A root@pam cookie opens the whole cluster for two hours (PVE/AccessControl.pm). It stays in this object's memory: no
browser, log, login session or database ever sees it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cyberlab.proxmox.flight import Flight

LIFETIME = 30 * 60.0  # seconds; Proxmox gives it two hours, minus five minutes for clocks that differ


@dataclass(frozen=True, slots=True)
class Pass:
    """One proof: ``headers`` go with every request, ``csrf`` with those that change something."""

    user: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    cookie: str = field(default="", repr=False)
    csrf: str = field(default="", repr=False)

    @classmethod
    def of_cookie(cls, user: str, cookie: str, csrf: str = "") -> Pass:
        """With a cookie, changes need a CSRF token as well (PVE/HTTPServer.pm, auth_handler)."""
        return cls(user, (("Cookie", f"PVEAuthCookie={cookie}"),), cookie, csrf)

    @classmethod
    def of_token(cls, name: str, value: str) -> Pass:
        """A token needs neither, and holds until somebody removes it."""
        return cls(name, (("Authorization", f"PVEAPIToken={name}={value}"),))


class Passes:
    """One pass for any number of waiters, and one request in flight to get it."""

    def __init__(self, fetch: Callable[[], Awaitable[Pass]]) -> None:
        """``fetch`` gets a new one; it has its own deadline."""
        self._fetch = fetch
        self._known: Pass | None = None
        self._until = 0.0
        self._flight: Flight[Pass] = Flight()

    async def get(self) -> Pass:
        """The pass; whatever ``fetch`` raises."""
        if self._known is not None and time.monotonic() < self._until:
            return self._known
        return await self._flight.join(self._renew)

    async def _renew(self) -> Pass:
        self._known = await self._fetch()
        self._until = time.monotonic() + LIFETIME
        return self._known

    def forget(self, cookie: str) -> None:
        """Proxmox refused that cookie; a newer one stays, and a token stays anyhow."""
        if self._known is not None and cookie and cookie == self._known.cookie:
            self._known = None

    def close(self) -> None:
        """End a request in flight."""
        self._flight.close()
