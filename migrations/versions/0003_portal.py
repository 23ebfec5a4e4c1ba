"""The portal of every day: inventory, classes' assignments, languages, undo, tokens of the API."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003_portal"
down_revision = "0002_sign_in"
branch_labels = None
depends_on = None

EMPTY = sa.text("''")
VERSIONED = ("users", "groups", "vms", "assignments")
INVENTORY = ("status", "lock", "pool", "tags", "template", "seen_at", "vanished_at", "reset_snapshot")


def text(name: str, length: int, default: sa.TextClause | None = None) -> sa.Column[Any]:
    """A string of at most ``length`` characters (PostgreSQL holds to it, SQLite does not)."""
    return sa.Column(name, sa.String(length), nullable=False, server_default=default)


def time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    """A time, UTC."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def number(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    """A 32-bit integer."""
    return sa.Column(name, sa.Integer(), nullable=nullable)


def index(table: str, *names: str) -> None:
    """Indexes of one column each, not unique."""
    for name in names:
        op.create_index(op.f(f"ix_{table}_{name}"), table, [name])


def upgrade() -> None:
    """Forward. New columns have defaults: SQLite then adds them without rebuilding the table."""
    for table in VERSIONED:
        op.add_column(table, sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")))
    op.add_column("users", text("language", 16, EMPTY))
    op.add_column("users", text("time_zone", 64, EMPTY))
    op.add_column("vms", text("status", 16, sa.text("'unknown'")))
    op.add_column("vms", text("lock", 32, EMPTY))
    op.add_column("vms", text("pool", 255, EMPTY))
    op.add_column("vms", sa.Column("tags", sa.Text(), nullable=False, server_default=EMPTY))
    op.add_column("vms", sa.Column("template", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("vms", time("seen_at"))
    op.add_column("vms", time("vanished_at"))
    op.add_column("vms", text("reset_snapshot", 40, EMPTY))
    index("vms", "status", "pool")
    # A new foreign key and a new CHECK: SQLite rebuilds the table for these.
    with op.batch_alter_table("assignments", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.add_column(number("via_group_id", nullable=True))
        batch.create_foreign_key(
            batch.f("fk_assignments_via_group_id_groups"), "groups", ["via_group_id"], ["id"], ondelete="CASCADE"
        )
        batch.create_check_constraint(
            batch.f("ck_assignments_via_group_of_user"), "via_group_id IS NULL OR user_id IS NOT NULL"
        )
    index("assignments", "via_group_id")
    op.create_table(
        "bulk_changes",
        number("id"),
        time("at", nullable=False),
        number("actor_id", nullable=True),
        text("title", 255),
        sa.Column("undo", sa.Text(), nullable=False),
        time("undone_at"),
        sa.ForeignKeyConstraint(
            ["actor_id"], ["users.id"], name=op.f("fk_bulk_changes_actor_id_users"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_changes")),
        sqlite_autoincrement=True,
    )
    index("bulk_changes", "at", "actor_id")
    op.create_table(
        "api_tokens",
        number("id"),
        number("user_id"),
        text("name", 64),
        text("token_hash", 64),
        text("scopes", 255),
        time("created_at", nullable=False),
        time("expires_at"),
        time("last_used_at"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_api_tokens_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_tokens_token_hash")),
        sqlite_autoincrement=True,
    )
    index("api_tokens", "user_id")


def downgrade() -> None:
    """Back to assignments one by one."""
    op.drop_table("api_tokens")
    op.drop_table("bulk_changes")
    op.drop_index(op.f("ix_assignments_via_group_id"), "assignments")
    with op.batch_alter_table("assignments", table_kwargs={"sqlite_autoincrement": True}) as batch:
        batch.drop_constraint(batch.f("ck_assignments_via_group_of_user"), type_="check")
        batch.drop_constraint(batch.f("fk_assignments_via_group_id_groups"), type_="foreignkey")
        batch.drop_column("via_group_id")
    for name in ("status", "pool"):
        op.drop_index(op.f(f"ix_vms_{name}"), "vms")
    for name in reversed(INVENTORY):
        op.drop_column("vms", name)
    for name in ("time_zone", "language"):
        op.drop_column("users", name)
    for table in reversed(VERSIONED):
        op.drop_column(table, "version")
