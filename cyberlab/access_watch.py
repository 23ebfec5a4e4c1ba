"""Ends open consoles whose right has gone: a sign-out, an unassignment, a deactivation, a time that has passed.

Rights are taken away by pages, by the shell commands and by other processes. All of them leave the same trace, the
access epoch; reading that one number twice a second is what makes "within a second" true for each of them.
"""

from __future__ import annotations

import asyncio
import logging

from cyberlab.auth.login import LiveKey, LoginService
from cyberlab.console.registry import ConsoleRequest, Registry
from cyberlab.db import epoch, logins
from cyberlab.db.engine import Database
from cyberlab.db.models import utcnow

log = logging.getLogger(__name__)

POLL_SECONDS = 0.4
ALL_SECONDS = 10.0  # how late an assignment's end or a login's limit may be noticed: time bumps no counter
ALL_CONSOLES = 1000  # asked about at that pace; more of them take proportionally longer
TOUCH_SECONDS = 60.0  # an open console keeps its login session from becoming idle


class AccessWatch:
    """Asks again, for every open console, whether it may stay open."""

    def __init__(self, database: Database, login_service: LoginService, registry: Registry) -> None:
        """Nothing runs before ``run``."""
        self._database = database
        self._logins = login_service
        self._registry = registry
        self._epoch: int | None = None
        self._newest = 0  # of the consoles that have been asked about; their numbers grow
        self._checked_all_at = float("-inf")
        self._touched_at = float("-inf")

    async def run(self) -> None:
        """Watch until cancelled; a database that fails is tried again, and said once."""
        failing = False
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.look()
                failing = False
            except Exception as error:
                if not failing:
                    log.error("open consoles cannot be re-authorized: %s", error)
                failing = True

    async def look(self) -> None:
        """One look; ends what must end."""
        live = list(self._registry)
        if not live:
            return
        now = asyncio.get_running_loop().time()
        current = await self._database.run(epoch.current)
        pace = ALL_SECONDS * max(1.0, len(live) / ALL_CONSOLES)
        everything = current != self._epoch or now - self._checked_all_at >= pace
        # A console that was authorized just before a change and listed just after it is asked once for itself.
        due = live if everything else []
        if not everything and live[-1].id > self._newest:
            due = [console for console in live if console.id > self._newest]
        if due:
            found = await self._logins.live_problems({_key(console.request) for console in due})
            for console in due:
                code = found.get(_key(console.request))
                if code is not None:
                    console.close(code)
        self._epoch = current
        self._newest = live[-1].id
        if everything:
            self._checked_all_at = now
        if now - self._touched_at >= TOUCH_SECONDS:
            self._touched_at = now
            await self._database.run(logins.touch, [console.request.login_session_id for console in live], utcnow())


def _key(request: ConsoleRequest) -> LiveKey:
    return LiveKey(request.user_id, request.login_session_id, request.vm_id, request.as_teacher)
