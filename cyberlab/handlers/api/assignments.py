"""Assignments, one by one or a semester's at once."""

from __future__ import annotations

from sqlalchemy.orm import Session

from cyberlab.auth.access import Action
from cyberlab.db import assignments
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict, NotFound
from cyberlab.db.models import Assignment
from cyberlab.db.tokens import Scope
from cyberlab.handlers.api.base import ApiHandler, ApiProblem, operation
from cyberlab.handlers.api.schemas import (
    AssignmentBatch,
    AssignmentChange,
    AssignmentOut,
    AssignmentsOut,
    Listing,
    NewAssignment,
    Paged,
)
from cyberlab.handlers.base import requires

_FIELDS = {"vm_id": "machine_id", "group_id": "class_id", "via_group_id": "for_class_id"}


@requires(Action.ADMINISTER)
class AssignmentsHandler(ApiHandler):
    """All of them."""

    @operation("List assignments", query=Listing, answer=Paged[AssignmentOut])
    async def get(self, query: Listing) -> Paged[AssignmentOut]:
        """By machine."""
        page = await self.portal.database.run(assignments.page, search=query.q, offset=query.offset, limit=query.limit)
        return Paged.of(page, [AssignmentOut.of(row) for row in page.rows])

    @operation("Assign a machine", scope=Scope.WRITE, body=NewAssignment, answer=AssignmentOut, status=201)
    async def post(self, body: NewAssignment) -> AssignmentOut:
        """To a user, to a user for a class's sake, or to a class."""
        try:
            return AssignmentOut.of(await self.portal.database.run(_create, self.actor, body))
        except Conflict as conflict:
            raise Conflict(_FIELDS.get(conflict.field, conflict.field), conflict.message) from None
        except NotFound as missing:  # what the body names, not what the address does
            raise Conflict("", str(missing)) from None


@requires(Action.ADMINISTER)
class AssignmentBatchHandler(ApiHandler):
    """Many at once."""

    @operation("Assign many machines", scope=Scope.WRITE, body=AssignmentBatch, answer=AssignmentsOut, status=201)
    async def post(self, body: AssignmentBatch) -> AssignmentsOut:
        """All of them or none: what is refused is named by its place."""
        made = await self.portal.database.run(_create_all, self.actor, body.assignments)
        return AssignmentsOut(items=[AssignmentOut.of(row) for row in made])


@requires(Action.ADMINISTER)
class AssignmentHandler(ApiHandler):
    """One of them."""

    @operation("Read an assignment", answer=AssignmentOut)
    async def get(self, assignment_id: int) -> AssignmentOut:
        """As stored."""
        row = await self.portal.database.run(assignments.get, assignment_id)
        if row is None:
            raise NotFound(f"assignment {assignment_id}")
        return AssignmentOut.of(row)

    @operation("Change an assignment", scope=Scope.WRITE, body=AssignmentChange, answer=AssignmentOut)
    async def patch(self, assignment_id: int, body: AssignmentChange) -> AssignmentOut:
        """Its times and rights; what is left out stays."""
        return AssignmentOut.of(await self.portal.database.run(_change, self.actor, assignment_id, body))

    @operation("Take a machine away", scope=Scope.WRITE, status=204)
    async def delete(self, assignment_id: int) -> None:
        """Open consoles end at once."""
        await self.portal.database.run(assignments.delete, self.actor, assignment_id)


def _create(s: Session, actor: Actor, given: NewAssignment) -> Assignment:
    return assignments.create(
        s,
        actor,
        vm_id=given.machine_id,
        user_id=given.user_id,
        group_id=given.class_id,
        via_group_id=given.for_class_id,
        starts_at=given.starts_at,
        ends_at=given.ends_at,
        can_power=given.power,
        can_reset=given.reset,
    )


def _create_all(s: Session, actor: Actor, given: list[NewAssignment]) -> list[Assignment]:
    made, errors = [], []
    for place, one in enumerate(given):
        try:
            made.append(_create(s, actor, one))
        except Conflict as conflict:
            field = _FIELDS.get(conflict.field, conflict.field)
            errors.append({"field": f"assignments.{place}.{field}", "message": conflict.message})
        except NotFound as missing:
            errors.append({"field": f"assignments.{place}", "message": str(missing)})
    if errors:
        raise ApiProblem(409, "Nothing was assigned", f"{len(errors)} of {len(given)} cannot be.", errors[:50])
    return made


def _change(s: Session, actor: Actor, assignment_id: int, body: AssignmentChange) -> Assignment:
    row = assignments.get(s, assignment_id)
    if row is None:
        raise NotFound(f"assignment {assignment_id}")
    given = body.model_fields_set
    return assignments.update(
        s,
        actor,
        assignment_id,
        starts_at=body.starts_at if "starts_at" in given else row.starts_at,
        ends_at=body.ends_at if "ends_at" in given else row.ends_at,
        can_power=row.can_power if body.power is None else body.power,
        can_reset=row.can_reset if body.reset is None else body.reset,
        version=body.version,
    )
