"""When somebody asked a run to end."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once
from backend.store.tables import UTCDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column unless a killed migration has added it already."""
    add_column_once(op.get_bind(), "experiment", sa.Column("cancel_requested_at", UTCDateTime))
