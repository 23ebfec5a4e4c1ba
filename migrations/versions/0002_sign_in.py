"""Second factors beside TOTP, remembered devices, the throttle, and what a backend's groups decided."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002_sign_in"
down_revision = "0001_initial"
branch_labels = None
depends_on = None

TABLES = ("webauthn_credentials", "remembered_devices", "sign_in_attempts", "known_addresses")


def text(name: str, length: int) -> sa.Column[Any]:
    """A string of at most ``length`` characters (PostgreSQL holds to it, SQLite does not)."""
    return sa.Column(name, sa.String(length), nullable=False)


def time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    """A time, UTC."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def number(name: str) -> sa.Column[Any]:
    """A 32-bit integer."""
    return sa.Column(name, sa.Integer(), nullable=False)


def of_user(table: str) -> sa.ForeignKeyConstraint:
    """Rows that go with their user."""
    return sa.ForeignKeyConstraint(
        ["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id_users"), ondelete="CASCADE"
    )


def unique(table: str, *names: str) -> sa.UniqueConstraint:
    """A unique constraint."""
    return sa.UniqueConstraint(*names, name=op.f(f"uq_{table}_{'_'.join(names)}"))


def create(table: str, *items: sa.schema.SchemaItem) -> None:
    """A table with a numeric id that is never reused."""
    key = sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))
    op.create_table(table, number("id"), *items, key, sqlite_autoincrement=True)


def index(table: str, name: str) -> None:
    """An index that is not unique."""
    op.create_index(op.f(f"ix_{table}_{name}"), table, [name])


def upgrade() -> None:
    """Forward. New columns have defaults: SQLite then adds them without rebuilding the table."""
    op.add_column("users", sa.Column("role_mapped", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("users", sa.Column("external_groups", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("users", time("factor_grace_until", nullable=True))
    op.add_column("memberships", sa.Column("granted_by", sa.String(64), nullable=False, server_default=sa.text("''")))
    create(
        "webauthn_credentials",
        number("user_id"),
        text("name", 64),
        text("credential_id", 1400),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        text("transports", 255),
        time("created_at"),
        time("last_used_at", nullable=True),
        of_user("webauthn_credentials"),
        unique("webauthn_credentials", "credential_id"),
    )
    index("webauthn_credentials", "user_id")
    create(
        "remembered_devices",
        number("user_id"),
        text("token_hash", 64),
        text("name", 255),
        time("created_at"),
        time("expires_at"),
        time("last_used_at", nullable=True),
        of_user("remembered_devices"),
        unique("remembered_devices", "token_hash"),
    )
    index("remembered_devices", "user_id")
    index("remembered_devices", "expires_at")
    create(
        "sign_in_attempts",
        text("scope", 16),
        text("key", 64),
        number("failures"),
        time("last_at"),
        time("blocked_until", nullable=True),
        sa.CheckConstraint("scope IN ('account', 'address')", name=op.f("ck_sign_in_attempts_scope")),
        unique("sign_in_attempts", "scope", "key"),
    )
    index("sign_in_attempts", "last_at")
    op.create_table(
        "known_addresses",
        number("user_id"),
        text("address", 45),
        time("last_success_at"),
        of_user("known_addresses"),
        sa.PrimaryKeyConstraint("user_id", "address", name=op.f("pk_known_addresses")),
    )
    index("known_addresses", "last_success_at")


def downgrade() -> None:
    """Back to sign-in with local passwords alone."""
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("memberships", "granted_by")
    for name in ("factor_grace_until", "external_groups", "role_mapped"):
        op.drop_column("users", name)
