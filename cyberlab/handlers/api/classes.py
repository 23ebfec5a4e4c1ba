"""Classes and who is in them."""

from __future__ import annotations

from cyberlab.auth.access import Action
from cyberlab.db import groups
from cyberlab.db.errors import NotFound
from cyberlab.db.tokens import Scope
from cyberlab.handlers.api.base import ApiHandler, operation
from cyberlab.handlers.api.schemas import ClassOut, Listing, MemberOut, Membership, NewClass, Paged
from cyberlab.handlers.base import requires


@requires(Action.ADMINISTER)
class ClassesHandler(ApiHandler):
    """All of them."""

    @operation("List classes", query=Listing, answer=Paged[ClassOut])
    async def get(self, query: Listing) -> Paged[ClassOut]:
        """By name, without the archived ones."""
        page = await self.portal.database.run(groups.page, search=query.q, offset=query.offset, limit=query.limit)
        return Paged.of(page, [ClassOut.of(row) for row in page.rows])

    @operation("Create a class", scope=Scope.WRITE, body=NewClass, answer=ClassOut, status=201)
    async def post(self, body: NewClass) -> ClassOut:
        """Empty at first."""
        return ClassOut.of(await self.portal.database.run(groups.create, self.actor, name=body.name))


@requires(Action.ADMINISTER)
class ClassHandler(ApiHandler):
    """One of them."""

    @operation("Read a class", answer=ClassOut)
    async def get(self, class_id: int) -> ClassOut:
        """As stored."""
        group = await self.portal.database.run(groups.get, class_id)
        if group is None:
            raise NotFound(f"class {class_id}")
        return ClassOut.of(group)


@requires(Action.ADMINISTER)
class MemberHandler(ApiHandler):
    """One user in one class."""

    @operation("Put a user into a class", scope=Scope.WRITE, body=Membership, answer=MemberOut)
    async def put(self, class_id: int, user_id: int, body: Membership) -> MemberOut:
        """Or give one who is in it another role there."""
        row = await self.portal.database.run(groups.add_member, self.actor, class_id, user_id, body.role)
        return MemberOut(user_id=row.user_id, class_id=row.group_id, role=row.role)

    @operation("Take a user out of a class", scope=Scope.WRITE, status=204)
    async def delete(self, class_id: int, user_id: int) -> None:
        """Nothing happens if they were not in it."""
        await self.portal.database.run(groups.remove_member, self.actor, class_id, user_id)
