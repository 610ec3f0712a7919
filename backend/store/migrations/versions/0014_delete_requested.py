"""Add the time at which deletion of an experiment with its folder was requested."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once
from backend.store.tables import UTCDateTime

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the column unless an interrupted migration has done so."""
    add_column_once(op.get_bind(), "experiment", sa.Column("delete_requested_at", UTCDateTime))
