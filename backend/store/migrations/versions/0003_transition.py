"""Create the table of transitions."""

import sqlalchemy as sa
from alembic import op

from backend.store.tables import Identity, UTCDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table unless an interrupted migration has done so."""
    op.create_table(
        "transition",
        sa.Column("id", Identity, primary_key=True, autoincrement=True),
        sa.Column(
            "experiment",
            Identity,
            sa.ForeignKey("experiment.id", name="fk_transition_experiment", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("from_status", sa.String(16)),
        sa.Column("to_status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("at", UTCDateTime, nullable=False),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
