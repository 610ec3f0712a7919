"""Add the priority to experiments."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the column unless an interrupted migration has done so."""
    add_column_once(op.get_bind(), "experiment", sa.Column("priority", sa.String(8)))
