"""Which consoles were tiles of a teacher's wall of screens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_wall"
down_revision = "0004_vm_names"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column("console_sessions", sa.Column("wall", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Back."""
    op.drop_column("console_sessions", "wall")
