"""What an admin wants to know of the database itself."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from cyberlab.db.read_only import reads

_ASKED = {
    "sqlite": (
        "SQLite",
        "select sqlite_version()",
        "select page_count * page_size from pragma_page_count(), pragma_page_size()",
    ),
    "postgresql": ("PostgreSQL", "show server_version", "select pg_database_size(current_database())"),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """``size``: in bytes; ``revision``: of the newest migration that it has seen."""

    kind: str
    version: str
    size: int
    revision: str


@reads
def facts(s: Session) -> Facts:
    """Which database it is."""
    dialect = s.get_bind().dialect.name
    kind, *asked = _ASKED[dialect]
    version, size = (s.scalar(text(each)) for each in asked)
    revisions = s.scalars(text("select version_num from alembic_version")).all()
    return Facts(kind, str(version), int(size or 0), ", ".join(sorted(revisions)))
