"""Create the table of the metrics' summaries, of which lists show the content."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from backend.store.tables import Identity

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Create the table unless an interrupted migration has done so."""
    op.create_table(
        "metric_summaries",
        sa.Column(
            "experiment",
            Identity,
            sa.ForeignKey(
                "experiment.id", name="fk_metric_summaries_experiment", ondelete="CASCADE"
            ),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("is_final", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("content", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql"), nullable=False),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
