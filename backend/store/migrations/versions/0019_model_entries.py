"""Add what was chosen from the catalogue of models, and the entries it was chosen from."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the table and the columns unless an interrupted migration has done so."""
    op.create_table(
        "model_entries",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
    for column in (
        sa.Column("model_parameters", sa.Text),
        sa.Column("size", sa.String(32)),
        sa.Column("entry_sha256", sa.String(64)),
        sa.Column("image", sa.Text),
    ):
        add_column_once(op.get_bind(), "experiment", column)
