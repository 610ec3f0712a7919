"""Add who requested a cancellation: the name of a token."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column unless an interrupted migration has done so."""
    add_column_once(op.get_bind(), "experiment", sa.Column("cancel_requested_by", sa.String(64)))
