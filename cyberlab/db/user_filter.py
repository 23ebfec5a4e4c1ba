"""Which users are meant: by words, role, backend, class, and whether the account is active."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, select

from cyberlab.db.models import Membership, Role, User
from cyberlab.db.page import matching
from cyberlab.db.rows import MAX_ID


@dataclass(frozen=True, slots=True)
class UserFilter:
    """All that is given has to hold."""

    search: str = ""
    role: Role | None = None
    backend: str | None = None
    active: bool | None = None
    group_id: int | None = None

    def apply(self, rows: Select[User]) -> Select[User]:
        """Those of the ``rows`` that are meant."""
        rows = rows.where(matching(User.search_text, self.search))
        if self.role is not None:
            rows = rows.where(User.role == self.role)
        if self.backend is not None:
            rows = rows.where(User.backend == self.backend)
        if self.active is not None:
            rows = rows.where(User.active.is_(self.active))
        if self.group_id is not None:
            known = self.group_id if 0 < self.group_id <= MAX_ID else 0
            rows = rows.where(User.id.in_(select(Membership.user_id).where(Membership.group_id == known)))
        return rows
