"""Editing one row by a form: shown, checked, saved; of two admins who save the same row the second is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from cyberlab.db.errors import Conflict, Stale
from cyberlab.handlers.admin.base import AdminHandler
from cyberlab.handlers.forms import Form

Row = TypeVar("Row", bound=Any)
Given = TypeVar("Given")


class EditHandler(AdminHandler, ABC, Generic[Row, Given]):
    """The course of every such form; what differs is in the methods below. The row has an id and a version."""

    @abstractmethod
    async def found(self, row_id: str, /) -> Row:
        """The row, or NotFound."""

    @abstractmethod
    def shown(self, row: Row) -> dict[str, str]:
        """What the fields hold for a row."""

    @abstractmethod
    def read(self, form: Form, row: Row) -> Given:
        """What was typed; what is wrong is noted in the form."""

    @abstractmethod
    async def save(self, row: Row, given: Given, version: int) -> None:
        """Change the row and go on to the next page; raise Conflict or Stale."""

    @abstractmethod
    async def show(self, form: Form, row: Row) -> None:
        """Show the form, with the row's ``version`` in a hidden field."""

    async def get(self, row_id: str) -> None:
        """Show the form."""
        row = await self.found(row_id)
        await self.show(Form(self._values(row)), row)

    async def post(self, row_id: str) -> None:
        """Change the row, or show the form again with what is wrong and with what somebody else has made of it."""
        form = Form.sent(self)
        row = await self.found(row_id)
        given = self.read(form, row)
        if not form.errors:
            try:
                return await self.save(row, given, form.version())
            except Stale as stale:
                row = await self.found(row_id)
                form.stale(stale, self._values(row))
            except Conflict as conflict:
                form.conflict(conflict)
        self.set_status(422)
        await self.show(form, row)

    def _values(self, row: Row) -> dict[str, str]:
        return self.shown(row) | {"version": str(row.version)}
