"""One row: found by its id, or added unless it meets another."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cyberlab.db.errors import Conflict
from cyberlab.db.models import Base

M = TypeVar("M", bound=Base)
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
