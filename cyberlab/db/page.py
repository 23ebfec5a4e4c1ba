"""One page of a long list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from cyberlab.db.models import Base
from cyberlab.db.text import search_words

T = TypeVar("T")
M = TypeVar("M", bound=Base)
MAX_LIMIT = 200
MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``rows`` from ``offset`` on, at most ``limit`` of the ``total`` that match."""

    rows: list[T]
    total: int
    offset: int
    limit: int


def fetch(s: Session, model: type[M], row_id: int) -> M | None:
    """The row with that id; ids from a URL may be larger than any database's integer."""
    return s.get(model, row_id) if 0 < row_id <= MAX_ID else None


def matching(column: InstrumentedAttribute[str], search: str) -> ColumnElement[bool]:
    """Every word of ``search`` occurs in the folded ``column``; LIKE's own wildcards mean themselves."""
    return and_(True, *(column.contains(word, autoescape=True) for word in search_words(search)))


def paged(s: Session, rows: Select[T], order: Sequence[Any], offset: int, limit: int) -> Page[T]:
    """Run ``rows`` for one page in ``order`` (which must be total, or rows would jump between pages)."""
    offset = min(max(offset, 0), MAX_ID)
    limit = min(max(limit, 1), MAX_LIMIT)
    total = s.scalar(select(func.count()).select_from(rows.order_by(None).subquery())) or 0
    found = s.scalars(rows.order_by(*order).offset(offset).limit(limit))
    return Page(list(found), total, offset, limit)
