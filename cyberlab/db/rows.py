"""One row: found by its id, or added unless it meets another."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, Delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cyberlab.db.errors import Conflict, Stale
from cyberlab.db.models import Assignment, Base, Group, User, Vm

M = TypeVar("M", bound=Base)
Edited = User | Group | Vm | Assignment
MAX_ID = 2**31 - 1


def fetch(s: Session, model: type[M], row_id: int) -> M | None:
    """The row with that id; ids from a URL may be larger than any database's integer."""
    return s.get(model, row_id) if 0 < row_id <= MAX_ID else None


def add(s: Session, row: Base, conflict: Conflict) -> None:
    """Insert ``row``; raise ``conflict`` if a unique one is there already, also one of this very moment.

    Asking first would not do: on PostgreSQL another transaction may insert between the question and the answer.
    """
    try:
        with s.begin_nested():
            s.add(row)
            s.flush()
    except IntegrityError as error:
        raise conflict from error


def deleted(s: Session, statement: Delete) -> int:
    """Run a DELETE of rows that nobody's rights hang on; return how many there were."""
    done = s.execute(statement.execution_options(access_epoch=False, synchronize_session=False))
    return cast("CursorResult[Any]", done).rowcount


def edit(s: Session, row: Edited, version: int | None) -> None:
    """Begin a change of ``row`` by a form that showed its ``version``; raise Stale if that is no longer the newest.

    ``version``: None changes whatever is there now (a script, a shell command). Asked of the database in the
    statement that counts on, so that of two who save in the same moment one is told.
    """
    model = type(row)
    counted = update(model).where(model.id == row.id).values(version=model.version + 1)
    if version is not None:
        counted = counted.where(model.version == version)
    s.flush()
    done = s.execute(counted.execution_options(access_epoch=False, synchronize_session=False).returning(model.version))
    if done.first() is None:
        raise Stale
    s.refresh(row, ["version"])
