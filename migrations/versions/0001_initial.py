"""Users, classes, VMs, assignments, login and console sessions, second factors, audit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001_initial"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (  # in an order in which each refers only to earlier ones
    "access_epoch",
    "users",
    "groups",
    "vms",
    "memberships",
    "assignments",
    "login_sessions",
    "totp_devices",
    "recovery_codes",
    "console_sessions",
    "audit_events",
)


def text(name: str, length: int, *, nullable: bool = False) -> sa.Column[Any]:
    """A string of at most ``length`` characters (PostgreSQL holds to it, SQLite does not)."""
    return sa.Column(name, sa.String(length), nullable=nullable)


def time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    """A time, UTC."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def number(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    """A 32-bit integer."""
    return sa.Column(name, sa.Integer(), nullable=nullable)


def flag(name: str) -> sa.Column[Any]:
    """Yes or no."""
    return sa.Column(name, sa.Boolean(), nullable=False)


def one_of(table: str, name: str, *values: str) -> tuple[sa.Column[Any], sa.CheckConstraint]:
    """A string that is one of a few."""
    listed = ", ".join(f"'{value}'" for value in values)
    return text(name, 16), sa.CheckConstraint(f"{name} IN ({listed})", name=op.f(f"ck_{table}_{name}"))


def refers(table: str, name: str, to: str, on_delete: str) -> sa.ForeignKeyConstraint:
    """A foreign key."""
    constraint = op.f(f"fk_{table}_{name}_{to}")
    return sa.ForeignKeyConstraint([name], [f"{to}.id"], name=constraint, ondelete=on_delete)


def unique(table: str, *names: str) -> sa.UniqueConstraint:
    """A unique constraint."""
    return sa.UniqueConstraint(*names, name=op.f(f"uq_{table}_{'_'.join(names)}"))


def create(table: str, *items: sa.schema.SchemaItem, reuse_ids: bool = False) -> None:
    """A table with a numeric id."""
    key = sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))
    op.create_table(table, number("id"), *items, key, **({} if reuse_ids else {"sqlite_autoincrement": True}))


def index(table: str, *names: str) -> None:
    """An index that is not unique."""
    op.create_index(op.f(f"ix_{table}_{'_'.join(names)}"), table, list(names))


def upgrade() -> None:
    """Forward."""
    create("access_epoch", number("value"), reuse_ids=True)
    op.execute("INSERT INTO access_epoch (id, value) VALUES (1, 0)")
    create(
        "users",
        text("backend", 64),
        text("subject", 255, nullable=True),
        text("username", 255),
        text("display_name", 255),
        text("email", 320, nullable=True),
        *one_of("users", "role", "student", "teacher", "admin"),
        text("password_hash", 255, nullable=True),
        flag("active"),
        time("created_at"),
        time("last_login_at", nullable=True),
        sa.Column("search_text", sa.Text(), nullable=False),
        unique("users", "backend", "subject"),
        unique("users", "backend", "username"),
    )
    index("users", "username")
    index("users", "role")
    create(
        "groups",
        text("name", 255),
        time("archived_at", nullable=True),
        time("created_at"),
        sa.Column("search_text", sa.Text(), nullable=False),
        unique("groups", "name"),
    )
    create(
        "vms",
        text("cluster", 32),
        number("vmid"),
        *one_of("vms", "kind", "qemu", "lxc"),
        text("node", 63),
        text("name", 255),
        time("created_at"),
        sa.Column("search_text", sa.Text(), nullable=False),
        unique("vms", "cluster", "vmid"),
        sa.CheckConstraint("vmid BETWEEN 100 AND 999999999", name=op.f("ck_vms_vmid_range")),
    )
    index("vms", "name")
    op.create_table(
        "memberships",
        number("group_id"),
        number("user_id"),
        *one_of("memberships", "role", "student", "teacher"),
        refers("memberships", "group_id", "groups", "CASCADE"),
        refers("memberships", "user_id", "users", "CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_memberships")),
    )
    index("memberships", "user_id")
    create(
        "assignments",
        number("vm_id"),
        number("user_id", nullable=True),
        number("group_id", nullable=True),
        time("starts_at", nullable=True),
        time("ends_at", nullable=True),
        flag("can_power"),
        flag("can_reset"),
        time("created_at"),
        refers("assignments", "vm_id", "vms", "CASCADE"),
        refers("assignments", "user_id", "users", "CASCADE"),
        refers("assignments", "group_id", "groups", "CASCADE"),
        unique("assignments", "vm_id", "user_id"),
        unique("assignments", "vm_id", "group_id"),
        sa.CheckConstraint("(user_id IS NULL) <> (group_id IS NULL)", name=op.f("ck_assignments_user_or_group")),
        sa.CheckConstraint(
            "ends_at IS NULL OR starts_at IS NULL OR ends_at > starts_at", name=op.f("ck_assignments_ends_after_start")
        ),
    )
    index("assignments", "user_id")
    index("assignments", "group_id")
    create(
        "login_sessions",
        number("user_id"),
        text("token_hash", 64),
        time("created_at"),
        time("seen_at"),
        time("expires_at"),
        text("address", 45),
        text("user_agent", 255),
        refers("login_sessions", "user_id", "users", "CASCADE"),
        unique("login_sessions", "token_hash"),
    )
    index("login_sessions", "user_id")
    index("login_sessions", "expires_at")
    create(
        "totp_devices",
        number("user_id"),
        text("name", 64),
        text("secret", 255),
        number("last_step", nullable=True),
        time("confirmed_at", nullable=True),
        time("created_at"),
        refers("totp_devices", "user_id", "users", "CASCADE"),
    )
    index("totp_devices", "user_id")
    create(
        "recovery_codes",
        number("user_id"),
        text("code_hash", 64),
        time("used_at", nullable=True),
        time("created_at"),
        refers("recovery_codes", "user_id", "users", "CASCADE"),
    )
    index("recovery_codes", "user_id")
    create(
        "console_sessions",
        number("user_id", nullable=True),
        number("vm_id", nullable=True),
        text("username", 255),
        text("vm_label", 320),
        text("address", 45),
        time("started_at"),
        time("ended_at", nullable=True),
        sa.Column("bytes_to_client", sa.BigInteger(), nullable=False),
        sa.Column("bytes_to_upstream", sa.BigInteger(), nullable=False),
        text("end_reason", 64, nullable=True),
        refers("console_sessions", "user_id", "users", "SET NULL"),
        refers("console_sessions", "vm_id", "vms", "SET NULL"),
    )
    index("console_sessions", "vm_id", "started_at")
    index("console_sessions", "user_id", "started_at")
    create(
        "audit_events",
        time("at"),
        number("actor_id", nullable=True),
        text("actor", 255),
        text("action", 64),
        text("object", 320),
        text("detail", 1024),
        text("address", 45),
        refers("audit_events", "actor_id", "users", "SET NULL"),
    )
    index("audit_events", "at")
    index("audit_events", "actor_id")
    index("audit_events", "action")


def downgrade() -> None:
    """Back to an empty database."""
    for table in reversed(TABLES):
        op.drop_table(table)
