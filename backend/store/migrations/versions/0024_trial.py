"""Add to experiments the sweep that they are a trial of, and why that has stopped them."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once, create_index_once
from backend.store.tables import ByteText

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the columns and the index unless an interrupted migration has done so."""
    for column in (
        sa.Column("sweep_id", ByteText),
        sa.Column("trial", sa.Integer),
        sa.Column("pruned_because", sa.Text),
    ):
        add_column_once(op.get_bind(), "experiment", column)
    name, columns = "uq_experiment_sweep_trial", ["sweep_id", "trial"]
    create_index_once(op.get_bind(), name, "experiment", columns, unique=True)
