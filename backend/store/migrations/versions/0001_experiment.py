"""Create the table of experiments."""

import sqlalchemy as sa
from alembic import op

from backend.store.tables import ByteText, Identity, UTCDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table unless an interrupted migration has done so."""
    op.create_table(
        "experiment",
        sa.Column("id", Identity, primary_key=True, autoincrement=True),
        sa.Column("experiment_id", ByteText, nullable=False),
        sa.Column("uid", sa.String(32), nullable=False),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("learning_rate", sa.Double, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("dataset", sa.String(255)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("job", sa.String(63), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("message", sa.Text),
        sa.Column("remedy", sa.Text),
        sa.Column("created_at", UTCDateTime, nullable=False),
        sa.Column("updated_at", UTCDateTime, nullable=False),
        sa.Column("started_at", UTCDateTime),
        sa.Column("finished_at", UTCDateTime),
        sa.UniqueConstraint("experiment_id", name="uq_experiment_experiment_id"),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
