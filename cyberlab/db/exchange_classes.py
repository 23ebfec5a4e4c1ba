"""Classes and who is in them, from a file: a row for each member, or one without a user for the class alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.orm import Session

from cyberlab.db import audit, bulk
from cyberlab.db.audit import Actor
from cyberlab.db.exchange_cells import Bad, BadCell, Cells
from cyberlab.db.exchange_names import Classes, People, Person
from cyberlab.db.models import Group, Membership, MembershipRole, Role, User, search_text
from cyberlab.db.page import matching
from cyberlab.db.read_only import reads
from cyberlab.phrases import Phrase

HEADINGS = {
    "class": ("course", "group", "Kurs", "Klasse", "Gruppe", "Lehrveranstaltung"),
    "user": ("user name", "username", "login", "member", "Benutzer", "Benutzername", "Kennung", "Mitglied"),
    "backend": ("sign-in", "directory", "Anmeldung", "Verzeichnis"),
    "role": ("Rolle",),
}
REQUIRED = ("class",)
EXPORTED = ("class", "user", "backend", "role")


@dataclass(frozen=True, slots=True)
class Record:
    """One row; no user: the class alone. ``role`` None leaves what is there."""

    line: int
    group: str
    username: str | None
    backend: str | None
    role: MembershipRole | None


def record(cells: Cells, zone: tzinfo) -> Record:
    """One row, checked by itself."""
    role = cells.role("role")
    if role == Role.ADMIN:
        raise BadCell("role", Phrase("in a class, people are students or teachers"))
    return Record(
        cells.line,
        cells.needed("class"),
        cells.username("user"),
        cells.backend("backend"),
        None if role is None else MembershipRole(role.value),
    )


def key(record: Record) -> object:
    """Class and user."""
    return record.group, record.username, record.backend


def plan(s: Session, records: Sequence[Record], work: Any) -> None:
    """Classes and memberships that are not there are created; another role changes one."""
    people = People(s, (row.username for row in records if row.username))
    classes = Classes(s, (row.group for row in records))
    there = _memberships(s, {group for row in records if (group := _known(classes, row.group)) is not None})
    making: set[str] = set()
    lines: dict[tuple[str, int], int] = {}
    for row in records:
        try:
            group_id = classes.find(row.group)
            person = people.find(row.username, row.backend) if row.username else None
            first = lines.setdefault((row.group, person.id), row.line) if person else row.line
            if first != row.line:
                raise BadCell("user", Phrase("line %(line)d says the same already", line=first))
        except BadCell as error:
            text = row.group if error.column == "class" else row.username or ""
            work.bad.append(Bad(row.line, error.column, text, error.phrase, own=False))
            continue
        known = there.get((group_id or 0, person.id)) if person else None
        if person is None:
            if group_id is None and row.group not in making:
                work.created.append((row, None))
                work.sample.append(f"+ {row.group}")
            else:
                work.unchanged += 1
        elif known is None:
            work.created.append((row, person))
            work.sample.append(f"+ {row.group}: {person.username} ({row.role or MembershipRole.STUDENT})")
        elif row.role is None or row.role == known:
            work.unchanged += 1
        else:
            work.changed.append((row, person))
            work.sample.append(f"~ {row.group}: {person.username} ({row.role})")
        if group_id is None:
            making.add(row.group)


def write(s: Session, actor: Actor, work: Any) -> None:
    """Many rows a statement."""
    names = list(dict.fromkeys(row.group for row, _ in (*work.created, *work.changed)))
    known: dict[str, int] = {}
    for some in bulk.chunks(names):
        known |= {
            name: group_id for group_id, name in s.execute(select(Group.id, Group.name).where(Group.name.in_(some)))
        }
    new = [name for name in names if name not in known]
    for some in bulk.chunks(new):
        s.execute(insert(Group), [{"name": name, "search_text": search_text(Group, {"name": name})} for name in some])
        known |= {
            name: group_id for group_id, name in s.execute(select(Group.id, Group.name).where(Group.name.in_(some)))
        }
    audit.record_many(s, actor, "group.create", ((f"class {name}", "") for name in new))
    rows = [
        {"group_id": known[row.group], "user_id": person.id, "role": row.role or MembershipRole.STUDENT}
        for row, person in work.created
        if person is not None
    ]
    for added in bulk.chunks(rows):
        s.execute(insert(Membership), added)
    for changes in bulk.chunks(work.changed):
        for role in MembershipRole:
            pairs = [(known[row.group], person.id) for row, person in changes if row.role == role]
            if pairs:
                of_pairs = tuple_(Membership.group_id, Membership.user_id).in_(pairs)
                change = update(Membership).where(of_pairs).values(role=role)
                s.execute(change.execution_options(synchronize_session=False))
    audit.record_many(
        s,
        actor,
        "group.add",
        (
            (f"class {row.group}", f"{person.username} as {row.role or MembershipRole.STUDENT}")
            for row, person in (*work.created, *work.changed)
            if person is not None
        ),
    )


@reads
def export(
    s: Session, search: str, archived: bool, after: tuple[int, int], limit: int
) -> tuple[list[tuple[str, ...]], tuple[int, int] | None]:
    """Rows of a file from (class id, user id) ``after`` on, and the last of them; None for no more."""
    rows = (
        select(Group.id, User.id, Group.name, User.username, User.backend, Membership.role)
        .outerjoin(Membership, Membership.group_id == Group.id)
        .outerjoin(User, User.id == Membership.user_id)
        .where(matching(Group.search_text, search))
        .where(Group.archived_at.is_not(None) if archived else Group.archived_at.is_(None))
        .where((Group.id > after[0]) | ((Group.id == after[0]) & (User.id > after[1])))
        .order_by(Group.id, User.id)
        .limit(limit)
    )
    found = s.execute(rows).all()
    cells: list[tuple[str, ...]] = [
        (name, username or "", backend or "", role.value if role else "")
        for _, _, name, username, backend, role in found
    ]
    last = (found[-1][0], found[-1][1] or 0) if len(found) == limit else None
    return cells, last


def _ids(s: Session, names: Sequence[str]) -> dict[str, int]:
    rows = s.execute(select(Group.id, Group.name).where(Group.name.in_(names)))
    return {name: group_id for group_id, name in rows}


def _memberships(s: Session, group_ids: set[int]) -> dict[tuple[int, int], MembershipRole]:
    found: dict[tuple[int, int], MembershipRole] = {}
    columns = (Membership.group_id, Membership.user_id, Membership.role)
    for some in bulk.chunks(group_ids):
        rows = s.execute(select(*columns).where(Membership.group_id.in_(some)))
        found |= {(group_id, user_id): role for group_id, user_id, role in rows}
    return found


def _known(classes: Classes, name: str) -> int | None:
    try:
        return classes.find(name)
    except BadCell:
        return None


__all__ = ["EXPORTED", "HEADINGS", "REQUIRED", "Person", "Record", "export", "key", "plan", "record", "write"]
