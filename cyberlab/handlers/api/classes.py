"""Classes and who is in them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cyberlab.auth.access import Action
from cyberlab.db import groups, members
from cyberlab.db.audit import Actor
from cyberlab.db.errors import NotFound
from cyberlab.db.members import Member
from cyberlab.db.models import Group
from cyberlab.db.page import Page
from cyberlab.db.read_only import reads
from cyberlab.db.tokens import Scope
from cyberlab.handlers.api.base import ApiHandler, operation
from cyberlab.handlers.api.schemas import (
    ClassChange,
    ClassListing,
    ClassOut,
    Listing,
    MemberLine,
    MemberOut,
    Membership,
    NewClass,
    Paged,
)
from cyberlab.handlers.base import requires


@requires(Action.ADMINISTER)
class ClassesHandler(ApiHandler):
    """All of them."""

    @operation("List classes", query=ClassListing, answer=Paged[ClassOut])
    async def get(self, query: ClassListing) -> Paged[ClassOut]:
        """By name."""
        page = await self.portal.database.run(
            groups.page, search=query.q, archived=query.archived, offset=query.offset, limit=query.limit
        )
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

    @operation("Rename, archive or bring back a class", scope=Scope.WRITE, body=ClassChange, answer=ClassOut)
    async def patch(self, class_id: int, body: ClassChange) -> ClassOut:
        """What is left out stays."""
        return ClassOut.of(await self.portal.database.run(_change, self.actor, class_id, body))

    @operation("Remove a class", scope=Scope.WRITE, status=204)
    async def delete(self, class_id: int) -> None:
        """With its memberships and assignments."""
        await self.portal.database.run(groups.delete, self.actor, class_id)


@requires(Action.ADMINISTER)
class MembersHandler(ApiHandler):
    """Who is in a class."""

    @operation("List a class's members", query=Listing, answer=Paged[MemberLine])
    async def get(self, class_id: int, query: Listing) -> Paged[MemberLine]:
        """Teachers first, by name."""
        page = await self.portal.database.run(_members, class_id, query)
        lines = [
            MemberLine(
                class_id=class_id,
                user_id=row.user.id,
                role=row.role,
                username=row.user.username,
                display_name=row.user.display_name,
                granted_by=row.granted_by,
            )
            for row in page.rows
        ]
        return Paged.of(page, lines)


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


def _change(s: Session, actor: Actor, class_id: int, body: ClassChange) -> Group:
    group = groups.get(s, class_id)
    if group is None:
        raise NotFound(f"class {class_id}")
    if body.name is not None or body.version is not None:
        name = group.name if body.name is None else body.name
        group = groups.rename(s, actor, class_id, name=name, version=body.version)
    if body.archived is not None and body.archived != (group.archived_at is not None):
        group = (groups.archive if body.archived else groups.restore)(s, actor, class_id)
    return group


@reads
def _members(s: Session, class_id: int, query: Listing) -> Page[Member]:
    if groups.get(s, class_id) is None:
        raise NotFound(f"class {class_id}")
    return members.page(s, class_id, search=query.q, offset=query.offset, limit=query.limit)
