"""Users from a file, also before they have ever signed in: keyed by backend and name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from cyberlab.db import audit, bulk
from cyberlab.db.audit import Actor
from cyberlab.db.exchange_cells import Bad, Cells
from cyberlab.db.models import LoginSession, Role, User, search_text
from cyberlab.db.read_only import reads
from cyberlab.db.user_filter import UserFilter
from cyberlab.db.users import LOCAL
from cyberlab.phrases import Phrase

HEADINGS = {
    "user": ("user name", "username", "login", "account", "Benutzer", "Benutzername", "Kennung", "Benutzerkennung"),
    "backend": ("sign-in", "directory", "Anmeldung", "Verzeichnis"),
    "name": ("display name", "full name", "Anzeigename", "Vor- und Nachname"),
    "email": ("mail", "e-mail", "mail address", "E-Mail-Adresse", "Mailadresse"),
    "role": ("Rolle",),
    "active": ("enabled", "aktiv"),
}
REQUIRED = ("user",)
EXPORTED = ("user", "backend", "name", "email", "role", "active")


@dataclass(frozen=True, slots=True)
class Record:
    """One row; None leaves what is there."""

    line: int
    backend: str
    username: str
    name: str | None
    email: str | None
    role: Role | None
    active: bool | None


class _There(NamedTuple):
    id: int
    backend: str
    username: str
    name: str
    email: str | None
    role: Role
    active: bool
    version: int


def record(cells: Cells, zone: tzinfo) -> Record:
    """One row, checked by itself."""
    cells.needed("user")
    return Record(
        cells.line,
        cells.backend("backend") or LOCAL,
        cells.username("user") or "",
        cells.text("name"),
        cells.email("email"),
        cells.role("role"),
        cells.flag("active"),
    )


def key(record: Record) -> object:
    """Backend and name."""
    return record.backend, record.username


def plan(s: Session, records: Sequence[Record], work: Any) -> None:
    """New ones are created, others changed where a cell says something else."""
    there = _existing(s, records)
    admins = _admins(s)
    for row in records:
        known = there.get((row.backend, row.username))
        if known is None:
            # Put together here, before the write lock is taken.
            work.created.append((row, _columns(row.username, row.name or "", row.email) | _new(row)))
            work.sample.append(f"+ {row.username} ({row.backend})")
            continue
        wanted = _merged(known, row)
        if wanted == known:
            work.unchanged += 1
            continue
        if known.id in admins and not (wanted.role == Role.ADMIN and wanted.active):
            if admins == {known.id}:
                why = Phrase("this is the last active admin; make another one first")
                work.bad.append(Bad(row.line, "user", row.username, why, own=False))
                continue
            admins.discard(known.id)
        work.changed.append((known, wanted))
        work.sample.append(f"~ {row.username} ({row.backend})")


def write(s: Session, actor: Actor, work: Any) -> None:
    """Many rows a statement."""
    for some in bulk.chunks(columns for _, columns in work.created):
        s.execute(insert(User), some)
    audit.record_many(
        s, actor, "user.create", ((_label(row), f"role {row.role or Role.STUDENT}") for row, _ in work.created)
    )
    for changes in bulk.chunks(work.changed):
        s.execute(update(User), [_changed(known, wanted) for known, wanted in changes])
    disabled = [known.id for known, wanted in work.changed if known.active and not wanted.active]
    for ids in bulk.chunks(disabled):
        s.execute(delete(LoginSession).where(LoginSession.user_id.in_(ids)))
    audit.record_many(
        s, actor, "user.update", ((_label(known), _said(known, wanted)) for known, wanted in work.changed)
    )


@reads
def export(s: Session, only: UserFilter, after: int, limit: int, zone: tzinfo) -> tuple[list[tuple[str, ...]], int]:
    """Rows of a file from the id ``after`` on, and the last id; 0 for no more."""
    rows = only.apply(select(User)).where(User.id > after).order_by(User.id).limit(limit)
    found = s.scalars(rows).all()
    cells: list[tuple[str, ...]] = [
        (
            user.username,
            user.backend,
            user.display_name,
            user.email or "",
            user.role.value,
            "yes" if user.active else "no",
        )
        for user in found
    ]
    return cells, found[-1].id if len(found) == limit else 0


def _existing(s: Session, records: Sequence[Record]) -> dict[tuple[str, str], _There]:
    found: dict[tuple[str, str], _There] = {}
    columns = (
        User.id, User.backend, User.username, User.display_name, User.email, User.role, User.active, User.version,
    )  # fmt: skip
    for names in bulk.chunks({row.username for row in records}):
        for values in s.execute(select(*columns).where(User.username.in_(names))):
            there = _There(*values)
            found[there.backend, there.username] = there
    return found


def _admins(s: Session) -> set[int]:
    return set(s.scalars(select(User.id).where(User.role == Role.ADMIN, User.active).with_for_update(key_share=True)))


def _merged(known: _There, row: Record) -> _There:
    return known._replace(
        name=known.name if row.name is None else row.name,
        email=known.email if row.email is None else row.email,
        role=known.role if row.role is None else row.role,
        active=known.active if row.active is None else row.active,
    )


def _columns(username: str, name: str, email: str | None) -> dict[str, Any]:
    values = {"username": username, "display_name": name, "email": email}
    return values | {"search_text": search_text(User, values)}


def _new(row: Record) -> dict[str, Any]:
    return {
        "backend": row.backend,
        "role": row.role or Role.STUDENT,
        "active": row.active is not False,
        "role_mapped": False,
    }


def _changed(known: _There, wanted: _There) -> dict[str, Any]:
    values = _columns(known.username, wanted.name, wanted.email)
    values |= {"id": known.id, "role": wanted.role, "active": wanted.active, "version": known.version + 1}
    return values


def _label(row: Record | _There) -> str:
    return f"user {row.username}" if row.backend == LOCAL else f"user {row.username} ({row.backend})"


def _said(known: _There, wanted: _There) -> str:
    parts = [f"role {known.role} -> {wanted.role}"] if known.role != wanted.role else []
    parts += ["enabled" if wanted.active else "disabled"] if known.active != wanted.active else []
    return ", ".join(parts)
