"""Assignments from a file: a machine for a user, for a class, or for a user for a class's sake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session, aliased

from cyberlab.db import audit, bulk
from cyberlab.db.assignment_filter import Filter
from cyberlab.db.audit import Actor
from cyberlab.db.exchange_cells import Bad, BadCell, Cells
from cyberlab.db.exchange_names import Classes, Machine, Machines, People
from cyberlab.db.models import Assignment, Group, User, Vm
from cyberlab.db.read_only import reads
from cyberlab.phrases import Phrase

HEADINGS = {
    "machine": ("vm", "virtual machine", "Maschine", "Rechner", "VM"),
    "user": ("user name", "username", "login", "Benutzer", "Benutzername", "Kennung"),
    "backend": ("sign-in", "directory", "Anmeldung", "Verzeichnis"),
    "class": ("course", "group", "Kurs", "Klasse", "Gruppe"),
    "from": ("start", "starts", "begin", "von", "ab", "Beginn", "Anfang"),
    "until": ("end", "ends", "to", "bis", "Ende"),
    "power": ("on and off", "Schalten", "Ein/Aus"),
    "reset": ("rollback", "Zurücksetzen"),
}
REQUIRED = ("machine",)
EXPORTED = ("machine", "name", "user", "backend", "class", "from", "until", "power", "reset")
_REVERSED = Phrase("the end has to be after the start")


@dataclass(frozen=True, slots=True)
class Record:
    """One row. ``timed``: the columns from and until that the file has; None for a right leaves what is there."""

    line: int
    machine: str
    username: str | None
    backend: str | None
    group: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    timed: tuple[bool, bool]
    can_power: bool | None
    can_reset: bool | None


class _Terms(NamedTuple):
    via_group_id: int | None
    starts_at: datetime | None
    ends_at: datetime | None
    can_power: bool
    can_reset: bool


class _There(NamedTuple):
    id: int
    version: int
    terms: _Terms


class _Holder(NamedTuple):
    vm_id: int
    user_id: int | None
    group_id: int | None


def record(cells: Cells, zone: tzinfo) -> Record:
    """One row, checked by itself."""
    row = Record(
        cells.line,
        cells.needed("machine"),
        cells.username("user"),
        cells.backend("backend"),
        cells.text("class"),
        cells.moment("from", zone),
        cells.moment("until", zone, end=True),
        (cells.has("from"), cells.has("until")),
        cells.flag("power"),
        cells.flag("reset"),
    )
    if row.username is None and row.group is None:
        raise BadCell("user", Phrase("a user, a class or both are needed"))
    if row.starts_at and row.ends_at and row.ends_at <= row.starts_at:
        raise BadCell("until", _REVERSED)
    return row


def key(record: Record) -> object:
    """Machine and holder, as they are written."""
    return record.machine, record.username, record.backend, record.group if record.username is None else None


def plan(s: Session, records: Sequence[Record], work: Any) -> None:
    """New ones are created, others changed where a cell says something else."""
    people = People(s, (row.username for row in records if row.username))
    classes = Classes(s, (row.group for row in records if row.group))
    machines = Machines(s, (row.machine for row in records))
    there = _existing(s, {vm.id for row in records if (vm := _known(machines, row.machine)) is not None})
    lines: dict[_Holder, int] = {}
    for row in records:
        try:
            machine, holder, via = _found(row, people, classes, machines)
            first = lines.setdefault(holder, row.line)
            if first != row.line:
                raise BadCell("machine", Phrase("line %(line)d says the same already", line=first))
            _compare(row, machine, holder, via, there.get(holder), work)
        except BadCell as error:
            said = {"class": row.group, "user": row.username, "backend": row.username}.get(error.column, row.machine)
            work.bad.append(Bad(row.line, error.column, said or "", error.phrase, own=False))


def write(s: Session, actor: Actor, work: Any) -> None:
    """Many rows a statement."""
    rows = [holder._asdict() | terms._asdict() for _, _, holder, terms in work.created]
    for some in bulk.chunks(rows):
        s.execute(insert(Assignment), some)
    audit.record_many(s, actor, "assignment.create", ((label, _said(terms)) for _, label, _, terms in work.created))
    for changes in bulk.chunks(work.changed):
        counted = [terms._asdict() | {"id": known.id, "version": known.version + 1} for known, _, _, terms in changes]
        s.execute(update(Assignment), counted)
    audit.record_many(
        s,
        actor,
        "assignment.update",
        ((label, f"{_said(terms)}; was {_said(known.terms)}") for known, label, _, terms in work.changed),
    )


@reads
def export(
    s: Session, only: Filter, now: datetime, after: int, limit: int, zone: tzinfo
) -> tuple[list[tuple[str, ...]], int]:
    """Rows of a file from the id ``after`` on, times in ``zone``, and the last id; 0 for no more."""
    ids = only.apply(select(Assignment), now).where(Assignment.id > after).order_by(Assignment.id).limit(limit)
    wanted = list(s.scalars(ids.with_only_columns(Assignment.id)))
    via = aliased(Group)
    rows = (
        select(Assignment, Vm.cluster, Vm.vmid, Vm.name, User.username, User.backend, Group.name, via.name)
        .join(Vm, Vm.id == Assignment.vm_id)
        .outerjoin(User, User.id == Assignment.user_id)
        .outerjoin(Group, Group.id == Assignment.group_id)
        .outerjoin(via, via.id == Assignment.via_group_id)
        .where(Assignment.id.in_(wanted))
        .order_by(Assignment.id)
    )
    cells: list[tuple[str, ...]] = [
        (
            f"{cluster}/{vmid}",
            name,
            username or "",
            backend or "",
            group or sake or "",
            _cell(row.starts_at, zone),
            _cell(row.ends_at, zone),
            "yes" if row.can_power else "no",
            "yes" if row.can_reset else "no",
        )
        for row, cluster, vmid, name, username, backend, group, sake in s.execute(rows)
    ]
    return cells, wanted[-1] if len(wanted) == limit else 0


def _found(row: Record, people: People, classes: Classes, machines: Machines) -> tuple[Machine, _Holder, int | None]:
    machine = machines.find(row.machine)
    group_id = classes.find(row.group) if row.group else None
    if row.group and group_id is None:
        raise BadCell("class", Phrase("there is no such class; import classes first"))
    if row.username is None:
        return machine, _Holder(machine.id, None, group_id), None
    return machine, _Holder(machine.id, people.find(row.username, row.backend).id, None), group_id


def _compare(row: Record, machine: Machine, holder: _Holder, via: int | None, known: _There | None, work: Any) -> None:
    before = known.terms if known else _Terms(None, None, None, False, False)
    terms = _Terms(
        before.via_group_id if row.group is None else via,
        row.starts_at if row.timed[0] else before.starts_at,
        row.ends_at if row.timed[1] else before.ends_at,
        before.can_power if row.can_power is None else row.can_power,
        before.can_reset if row.can_reset is None else row.can_reset,
    )
    if terms.starts_at and terms.ends_at and terms.ends_at <= terms.starts_at:
        raise BadCell("until", _REVERSED)
    label = f"{machine.label} -> {row.username or f'class {row.group}'}"
    if row.username and row.group:
        label += f" for class {row.group}"
    if known is None:
        work.created.append((None, label, holder, terms))
        work.sample.append(f"+ {label}")
    elif terms == _whole(known.terms):
        work.unchanged += 1
    else:
        work.changed.append((known, label, holder, terms))
        work.sample.append(f"~ {label}")


def _existing(s: Session, vm_ids: set[int]) -> dict[_Holder, _There]:
    found: dict[_Holder, _There] = {}
    for some in bulk.chunks(vm_ids):
        rows = select(
            Assignment.vm_id, Assignment.user_id, Assignment.group_id, Assignment.id, Assignment.version,
            Assignment.via_group_id, Assignment.starts_at, Assignment.ends_at,
            Assignment.can_power, Assignment.can_reset,
        )  # fmt: skip
        for vm_id, user_id, group_id, row_id, version, *terms in s.execute(rows.where(Assignment.vm_id.in_(some))):
            found[_Holder(vm_id, user_id, group_id)] = _There(row_id, version, _Terms(*terms))
    return found


def _known(machines: Machines, text: str) -> Machine | None:
    try:
        return machines.find(text)
    except BadCell:
        return None


def _whole(terms: _Terms) -> _Terms:
    """As a file holds it: to the second."""
    starts, ends = terms.starts_at, terms.ends_at
    starts = starts.replace(microsecond=0) if starts else None
    return terms._replace(starts_at=starts, ends_at=ends.replace(microsecond=0) if ends else None)


def _cell(moment: datetime | None, zone: tzinfo) -> str:
    if moment is None:
        return ""
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"


def _said(terms: _Terms) -> str:
    rights = ["open", *(["power"] if terms.can_power else []), *(["reset"] if terms.can_reset else [])]
    return f"{terms.starts_at or '…'} – {terms.ends_at or '…'}, {' '.join(rights)}"
