"""Add the time at which cancellation was requested."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once
from backend.store.tables import UTCDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column unless an interrupted migration has done so."""
    add_column_once(op.get_bind(), "experiment", sa.Column("cancel_requested_at", UTCDateTime))
