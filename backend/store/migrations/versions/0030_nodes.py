"""Add the number of nodes to experiments: the names of their Jobs depend on it."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Add the column unless an interrupted migration has done so."""
    add_column_once(op.get_bind(), "experiment", sa.Column("nodes", sa.Integer))
