"""Create the tables of the webhooks: who listens, and what is still to be sent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from backend.store.migrations.once import create_index_once
from backend.store.tables import ByteText, Identity, UTCDateTime

revision = "0027"
down_revision = "0024"


def upgrade() -> None:
    """Create the tables and indexes that an interrupted migration has not created."""
    op.create_table(
        "webhook_target",
        sa.Column("target", sa.String(32), primary_key=True),
        sa.Column("last_event", Identity, nullable=False),
        sa.Column("seen_at", UTCDateTime, nullable=False),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    op.create_table(
        "webhook_outbox",
        sa.Column("target", sa.String(32), primary_key=True),
        sa.Column("event", Identity, primary_key=True, autoincrement=False),
        sa.Column("experiment_id", ByteText, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("content", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False),
        sa.Column("next_at", UTCDateTime, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    bind = op.get_bind()
    create_index_once(bind, "ix_webhook_outbox_next_at", "webhook_outbox", ["target", "next_at"])
    columns = ["target", "experiment_id", "event"]
    create_index_once(bind, "ix_webhook_outbox_experiment", "webhook_outbox", columns)
