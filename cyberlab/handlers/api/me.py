"""Whose token it is, and what they hold."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import assignments
from cyberlab.db.models import utcnow
from cyberlab.handlers.api.base import ApiHandler, operation
from cyberlab.handlers.api.schemas import AssignmentOut, AssignmentsOut, Me
from cyberlab.handlers.base import requires


@requires(Action.USE)
class MeHandler(ApiHandler):
    """Who a token speaks for."""

    @operation("Who this token speaks for", answer=Me)
    async def get(self) -> Me:
        """The user and the token's scopes."""
        user = self.user
        return Me(
            id=user.user_id,
            username=user.username,
            display_name=user.display_name,
            role=user.role,
            scopes=sorted(self.scopes),
        )


@requires(Action.USE)
class MyAssignmentsHandler(ApiHandler):
    """What one holds."""

    @operation("What this token's user holds now", answer=AssignmentsOut)
    async def get(self) -> AssignmentsOut:
        """One assignment a machine, as on the page “My machines”."""
        rows = await self.portal.database.run(assignments.for_user, self.user.user_id, utcnow())
        return AssignmentsOut(items=[AssignmentOut.of(row) for row in rows])
