"""Add the most that attempts have used to experiments, and the indexes to sort lists by it."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once, create_index_once

revision = "0029"
down_revision = "0028"

COLUMNS = {
    "peak_cpu": sa.Double,
    "peak_memory": sa.BigInteger,
    "peak_gpu": sa.Double,
    "peak_gpu_memory": sa.BigInteger,
}


def upgrade() -> None:
    """Add what an interrupted migration has not added."""
    for name, kind in COLUMNS.items():
        add_column_once(op.get_bind(), "experiment", sa.Column(name, kind))
        create_index_once(op.get_bind(), f"ix_experiment_{name}", "experiment", [name])
