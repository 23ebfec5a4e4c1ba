"""Where I am signed in, and the devices that are remembered."""

from __future__ import annotations

from collections.abc import Collection

from cyberlab.db import devices, logins
from cyberlab.db.models import utcnow
from cyberlab.handlers.account.base import AccountPage
from cyberlab.handlers.base import signed_in
from cyberlab.problems import SIGNED_OUT


class LoginsPage(AccountPage):
    """Ends login sessions of who is signed in."""

    async def end(self, session_ids: Collection[int]) -> int:
        """End these, with the consoles that they opened; return how many there were."""
        ended = await self.portal.database.run(logins.revoke_own, self.actor, self.user.user_id, session_ids)
        self.portal.registry.end(SIGNED_OUT, lambda console: console.login_session_id in ended)
        return len(ended)


@signed_in
class EndLoginHandler(LoginsPage):
    """Signing out there."""

    async def post(self, session_id: str) -> None:
        """End it; one that has ended already is no error."""
        await self.end([int(session_id)])
        self.done("Signed out there.")


@signed_in
class EndOthersHandler(LoginsPage):
    """Signing out everywhere else."""

    async def post(self) -> None:
        """End all but this one."""
        idle = self.portal.config.login_idle
        found = await self.portal.database.run(logins.of_user, self.user.user_id, utcnow(), idle)
        await self.end([row.id for row in found if row.id != self.user.session_id])
        self.done("You are signed out everywhere else.")


@signed_in
class ForgetDeviceHandler(AccountPage):
    """Asking for the second factor again in a browser."""

    async def post(self, device_id: str) -> None:
        """Forget it."""
        await self.portal.database.run(devices.revoke, self.actor, self.user.user_id, int(device_id))
        self.done("That browser is asked for the second factor again.")
