"""Every address of the API, on one page."""

from __future__ import annotations

import json

from tornado.web import RequestHandler

from cyberlab.handlers.api import assignments, classes, machines, me, power, users
from cyberlab.handlers.api.base import PREFIX, ApiHandler, NoSuchAddressHandler
from cyberlab.handlers.api.openapi import document
from cyberlab.handlers.base import public

ID = "([0-9]{1,18})"


@public
class DocumentHandler(ApiHandler):
    """The OpenAPI document; open to everybody, as it says nothing of anybody."""

    async def prepare(self) -> None:
        """Nothing to ask."""

    async def get(self) -> None:
        """Send it."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(document(API, self.portal.config.public_url)))


API: list[tuple[str, type[RequestHandler]]] = [
    (f"{PREFIX}/openapi.json", DocumentHandler),
    (f"{PREFIX}/me", me.MeHandler),
    (f"{PREFIX}/me/assignments", me.MyAssignmentsHandler),
    (f"{PREFIX}/users", users.UsersHandler),
    (f"{PREFIX}/users/{ID}", users.UserHandler),
    (f"{PREFIX}/classes", classes.ClassesHandler),
    (f"{PREFIX}/classes/{ID}", classes.ClassHandler),
    (f"{PREFIX}/classes/{ID}/members", classes.MembersHandler),
    (f"{PREFIX}/classes/{ID}/members/{ID}", classes.MemberHandler),
    (f"{PREFIX}/machines", machines.MachinesHandler),
    (f"{PREFIX}/machines/{ID}", machines.MachineHandler),
    (f"{PREFIX}/machines/{ID}/power", power.PowerHandler),
    (f"{PREFIX}/machines/{ID}/reset", power.ResetHandler),
    (f"{PREFIX}/machines/{ID}/operation", power.OperationHandler),
    (f"{PREFIX}/assignments", assignments.AssignmentsHandler),
    (f"{PREFIX}/assignments/batch", assignments.AssignmentBatchHandler),
    (f"{PREFIX}/assignments/{ID}", assignments.AssignmentHandler),
    (f"{PREFIX}/consoles", machines.ConsolesHandler),
    (f"{PREFIX}/consoles/{ID}", machines.ConsoleHandler),
    ("/api/.*", NoSuchAddressHandler),
]
