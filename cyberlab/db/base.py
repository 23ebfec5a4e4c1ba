"""What every table is made of: times in UTC, names for constraints, ids that are never reused."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import DateTime, Dialect, Enum, MetaData, Text, TypeDecorator, text
from sqlalchemy.orm import DeclarativeBase, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite drops the zone, PostgreSQL keeps it, Python always sees UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times before they reach the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time: use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's naive times their zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utcnow() -> datetime:
    """Now, aware."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can drop them on either database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime}


Id = Annotated[int, mapped_column(primary_key=True)]
Created = Annotated[datetime, mapped_column(UtcDateTime, default=utcnow)]
SearchText = Annotated[str, mapped_column(Text, default="")]

# Grows with each change by a form: two admins who edit the same row are told (rows.edit).
Version = Annotated[int, mapped_column(default=1, server_default=text("1"))]

EMPTY = text("''")  # the default of columns that came to a table later

# SQLite would give the id of the last deleted row to the next one: a console of a login session that
# was signed out, or a bookmarked VM, would then belong to its successor.
NEVER_REUSED: dict[str, Any] = {"sqlite_autoincrement": True}


def value_enum(kind: type[enum.StrEnum], name: str) -> Enum:
    """A CHECKed string column holding the values, so that both databases store the same."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        length=16,
        create_constraint=True,
        values_callable=lambda members: [member.value for member in members],
    )
