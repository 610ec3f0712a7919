"""Create the table of single metrics, by which lists are sorted."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import create_index_once
from backend.store.tables import ByteText, Identity

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Create the table and its indexes, those that an interrupted migration has not created."""
    op.create_table(
        "metric",
        sa.Column(
            "experiment",
            Identity,
            sa.ForeignKey("experiment.id", name="fk_metric_experiment", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("name", ByteText, primary_key=True),
        sa.Column("last", sa.Double, nullable=False),
        sa.Column("min", sa.Double, nullable=False),
        sa.Column("max", sa.Double, nullable=False),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    for figure in ("last", "min", "max"):
        columns = ["name", figure, "experiment"]
        create_index_once(op.get_bind(), f"ix_metric_{figure}", "metric", columns)
