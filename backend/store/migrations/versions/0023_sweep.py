"""Create the table of sweeps."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import create_index_once
from backend.store.tables import ByteText, Identity, UTCDateTime

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Create the table and its indexes, those that an interrupted migration has not created."""
    op.create_table(
        "sweep",
        sa.Column("id", Identity, primary_key=True, autoincrement=True),
        sa.Column("sweep_id", ByteText, nullable=False),
        sa.Column("uid", sa.String(32), nullable=False),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("parallel", sa.Integer, nullable=False),
        sa.Column("issued", sa.Integer, nullable=False),
        sa.Column("counted_from", sa.Integer, nullable=False),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("message", sa.Text),
        sa.Column("remedy", sa.Text),
        sa.Column("is_cancelling", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False),
        sa.Column("updated_at", UTCDateTime, nullable=False),
        sa.Column("finished_at", UTCDateTime),
        sa.Column("created_by", sa.String(64)),
        sa.Column("delete_requested_at", UTCDateTime),
        sa.Column("delete_outputs", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("analysis", sa.Text),
        sa.UniqueConstraint("sweep_id", name="uq_sweep_sweep_id"),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    for column in ("status", "updated_at"):
        create_index_once(op.get_bind(), f"ix_sweep_{column}", "sweep", [column])
