"""Queries that only read: they take no write lock, and are held to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

P = ParamSpec("P")
T = TypeVar("T")

_KEY = "read-only"


def reads(fn: Callable[Concatenate[Session, P], T]) -> Callable[Concatenate[Session, P], T]:
    """Mark a query that only reads: Database.run() then takes no write lock for it, and refuses it any write."""
    fn.reads_only = True  # type: ignore[attr-defined]
    return fn


def is_reading(fn: Callable[..., object]) -> bool:
    """Whether ``fn`` is marked with @reads."""
    return getattr(fn, "reads_only", False) is True


def hold(s: Session) -> None:
    """Refuse every write through ``s`` from now on."""
    s.info[_KEY] = True


def check(s: Session) -> None:
    """To be called before each write; raise RuntimeError if ``s`` is held to reading."""
    if s.info.get(_KEY):
        raise RuntimeError("a query marked @reads has changed rows")
