"""A machine's own name in the portal, beside the one that its cluster gives it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_vm_names"
down_revision = "0003_portal"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward."""
    op.add_column("vms", sa.Column("renamed", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Back."""
    op.drop_column("vms", "renamed")
