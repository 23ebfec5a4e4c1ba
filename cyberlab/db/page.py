"""One page of a long list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func
from sqlalchemy.orm import InstrumentedAttribute, Session

from cyberlab.db.rows import MAX_ID
from cyberlab.db.text import search_words

T = TypeVar("T")
MAX_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``rows`` from ``offset`` on, at most ``limit`` of the ``total`` that match."""

    rows: list[T]
    total: int
    offset: int
    limit: int


def matching(column: InstrumentedAttribute[str], search: str) -> ColumnElement[bool]:
    """Every word of ``search`` occurs in the folded ``column``; LIKE's own wildcards mean themselves."""
    return and_(True, *(column.contains(word, autoescape=True) for word in search_words(search)))


def paged(
    s: Session, rows: Select[T], order: Sequence[Any], offset: int, limit: int, *, counted: Select[T] | None = None
) -> Page[T]:
    """Run ``rows`` for one page in ``order`` (which must be total, or rows would jump between pages).

    ``counted``: selects as many rows, without the joins that only the order needs.
    """
    offset = min(max(offset, 0), MAX_ID)
    limit = min(max(limit, 1), MAX_LIMIT)
    counted = rows if counted is None else counted
    total = s.scalar(counted.with_only_columns(func.count(), maintain_column_froms=True)) or 0
    found = s.scalars(rows.order_by(*order).offset(offset).limit(limit))
    return Page(list(found), total, offset, limit)
