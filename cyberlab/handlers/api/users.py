"""Users."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cyberlab.auth.access import Action
from cyberlab.db import users
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import User
from cyberlab.db.tokens import Scope
from cyberlab.handlers import new_passwords
from cyberlab.handlers.api.base import ApiHandler, operation
from cyberlab.handlers.api.schemas import NewUser, Paged, UserChange, UserListing, UserOut
from cyberlab.handlers.base import requires


@requires(Action.ADMINISTER)
class UsersHandler(ApiHandler):
    """All of them."""

    @operation("List users", query=UserListing, answer=Paged[UserOut])
    async def get(self, query: UserListing) -> Paged[UserOut]:
        """By name."""
        page = await self.portal.database.run(
            users.page, search=query.q, role=query.role, offset=query.offset, limit=query.limit
        )
        return Paged.of(page, [UserOut.of(row) for row in page.rows])

    @operation("Create a user", scope=Scope.WRITE, body=NewUser, answer=UserOut, status=201)
    async def post(self, body: NewUser) -> UserOut:
        """One of a directory is claimed by their first sign-in."""
        hashed = await self._hashed(body) if body.password is not None else None
        user = await self.portal.database.run(
            users.create,
            self.actor,
            username=body.username,
            role=body.role,
            password_hash=hashed,
            display_name=body.display_name,
            email=body.email,
            backend=body.backend,
        )
        return UserOut.of(user)

    async def _hashed(self, body: NewUser) -> str:
        assert body.password is not None
        if body.backend != users.LOCAL:
            raise Conflict("password", "only local users have a password here")
        problem = await new_passwords.problem(self.portal, body.password, body.username, body.display_name, body.email)
        if problem is not None:
            raise Conflict("password", problem)
        return await new_passwords.hashed(self.portal, body.password)


@requires(Action.ADMINISTER)
class UserHandler(ApiHandler):
    """One of them."""

    @operation("Read a user", answer=UserOut)
    async def get(self, user_id: int) -> UserOut:
        """As stored."""
        user = await self.portal.database.run(users.get, user_id)
        if user is None:
            raise NotFound(f"user {user_id}")
        return UserOut.of(user)

    @operation("Change a user", scope=Scope.WRITE, body=UserChange, answer=UserOut)
    async def patch(self, user_id: int, body: UserChange) -> UserOut:
        """What is left out stays."""
        return UserOut.of(await self.portal.database.run(_change, self.actor, user_id, body))

    @operation("Remove a user", scope=Scope.WRITE, status=204)
    async def delete(self, user_id: int) -> None:
        """With memberships and assignments; the history stays."""
        await self.portal.database.run(users.delete, self.actor, user_id)


def _change(s: Session, actor: Actor, user_id: int, body: UserChange) -> User:
    user = users.get(s, user_id)
    if user is None:
        raise NotFound(f"user {user_id}")
    given = body.model_fields_set
    if given - {"active", "version"} or body.version is not None:
        users.update(
            s,
            actor,
            user_id,
            display_name=user.display_name if body.display_name is None else body.display_name,
            email=body.email if "email" in given else user.email,
            role=user.role if body.role is None else body.role,
            version=body.version,
        )
    if body.active is not None and body.active != user.active:
        users.set_active(s, actor, user_id, body.active)
    return user
