"""Users, classes and assignments from a file: looked at first, then written all at once, or the good rows of it.

A file may be read again and again: what is there already is left alone, and an empty cell changes nothing where
something is known. Each kind is a module of its own; this one says how they are run.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from types import ModuleType
from typing import Any, Protocol, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyberlab.db import audit, exchange_text
from cyberlab.db.audit import Actor
from cyberlab.db.errors import Conflict
from cyberlab.db.exchange_cells import Bad, BadCell, Cells
from cyberlab.db.models import AuditEvent
from cyberlab.db.read_only import reads
from cyberlab.phrases import Phrase

SAMPLE = 20  # of what would be made and changed, shown with the counts


class Kind(enum.StrEnum):
    """What a file is about."""

    USERS = "users"
    CLASSES = "classes"
    ASSIGNMENTS = "assignments"


@dataclass(slots=True)
class Work:
    """What a file would do; ``created`` and ``changed`` are the kind's own, for its write()."""

    created: list[Any] = field(default_factory=list)
    changed: list[Any] = field(default_factory=list)
    unchanged: int = 0
    bad: list[Bad] = field(default_factory=list)
    sample: list[str] = field(default_factory=list)
    as_of: int = 0  # the audit's last row by then: nothing changes without another one


@dataclass(frozen=True, slots=True)
class Report:
    """What is told about a file."""

    created: int
    changed: int
    unchanged: int
    bad: list[Bad]
    sample: list[str]

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return self.created + self.changed + self.unchanged + len(self.bad)


class _Module(Protocol):
    """What each kind's module has."""

    HEADINGS: Mapping[str, Sequence[str]]
    REQUIRED: Sequence[str]

    def record(self, cells: Cells, zone: tzinfo) -> Any:
        """One row, checked by itself; raise BadCell."""

    def key(self, record: Any) -> object:
        """What no two rows of a file may have in common."""

    def plan(self, s: Session, records: Sequence[Any], work: Any) -> None:
        """Compare the records with what is there."""

    def write(self, s: Session, actor: Actor, work: Any) -> None:
        """Do what was planned."""


def parse(module: _Module, data: bytes, zone: tzinfo) -> tuple[list[Any], list[Bad]]:
    """The file's rows, and those that are wrong by themselves; raise exchange_text.Unreadable.

    Pure and slow (some 20 µs a row): to be called on a thread, outside any transaction.
    """
    table = exchange_text.read(data, module.HEADINGS, module.REQUIRED)
    records: list[Any] = []
    bad: list[Bad] = []
    lines: dict[object, int] = {}
    for line, values in table.rows:
        try:
            record = module.record(Cells(line, values), zone)
        except BadCell as error:
            bad.append(Bad(line, error.column, values.get(error.column, ""), error.phrase))
            continue
        first = lines.setdefault(module.key(record), line)
        if first != line:
            bad.append(Bad(line, module.REQUIRED[0], "", Phrase("line %(line)d says the same already", line=first)))
            continue
        records.append(record)
    return records, bad


@reads
def plan(s: Session, module: _Module, records: Sequence[Any], bad: Iterable[Bad]) -> Work:
    """What the file would do now."""
    work = Work(bad=list(bad), as_of=_as_of(s))
    module.plan(s, records, work)
    work.bad.sort(key=lambda row: row.line)
    return work


def write(s: Session, actor: Actor, module: _Module, records: Sequence[Any], work: Work, good_only: bool) -> Report:
    """Do it, in the caller's transaction; raise Conflict where a row is bad and not ``good_only``.

    ``work``: what plan() said a moment ago; it is asked again if anything has changed since.
    """
    if work.as_of != _as_of(s):
        work = plan(s, module, records, [row for row in work.bad if row.own])
    if work.bad and not good_only:
        raise Conflict("file", Phrase("some rows are wrong, so nothing was changed"))
    module.write(s, actor, work)
    done = report(work)
    detail = f"{done.created} created, {done.changed} changed, {done.unchanged} unchanged, {len(done.bad)} bad"
    audit.record(s, actor, "import", _name(module), detail)
    return done


def report(work: Work) -> Report:
    """What is told about it."""
    return Report(len(work.created), len(work.changed), work.unchanged, work.bad, work.sample[:SAMPLE])


def summary(bad: Iterable[Bad]) -> list[tuple[Phrase, int]]:
    """The reasons, the most frequent first."""
    counted = Counter(row.why.key for row in bad)
    first = {row.why.key: row.why for row in reversed(list(bad))}
    return [(first[key], count) for key, count in counted.most_common(10)]


def _as_of(s: Session) -> int:
    return s.scalar(select(func.max(AuditEvent.id))) or 0


def _name(module: object) -> str:
    return cast(ModuleType, module).__name__.rpartition("_")[2]
