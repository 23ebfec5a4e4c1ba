"""Runs the migrations, for Database.upgrade() (which hands over a URL) and for the ``alembic`` command."""

from __future__ import annotations

from logging.config import fileConfig
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, text

from cyberlab.db.engine import make_engine
from cyberlab.db.models import Base, UtcDateTime
from cyberlab.settings import load_portal

LOCK = 0x6379626C  # "cybl": PostgreSQL's advisory lock, so that two starts do not migrate at once


def render_item(kind: str, item: object, autogen_context: AutogenContext) -> str | Literal[False]:
    """A migration names the database's types, not today's Python classes."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


def migrate(connection: Connection) -> None:
    """Run what is missing, all of it in one transaction on either database."""
    sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=sqlite,
        transactional_ddl=True,  # SQLite can; Alembic assumes the driver's habit of committing before DDL
        compare_type=True,
        render_item=render_item,
        include_object=lambda item, name, kind, reflected, other: name != "sqlite_sequence",
    )
    with context.begin_transaction():
        if not sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        context.run_migrations()
        if sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
            raise RuntimeError(f"a migration left a row that refers to nothing: {tuple(broken)}")


def main() -> None:
    """Connect and migrate; ``--sql`` prints the statements instead."""
    url = context.config.attributes.get("url")
    if context.config.config_file_name is not None and url is None:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    url = url or load_portal().database_url
    engine = make_engine(url, migrating=True)
    if context.is_offline_mode():
        context.configure(
            dialect_name=engine.dialect.name,
            target_metadata=Base.metadata,
            literal_binds=True,
            transactional_ddl=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        return
    with engine.connect() as connection:
        migrate(connection)
    engine.dispose()


main()
