"""The index by which the reconciler finds what is not finished."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the index unless a killed migration has made it already."""
    create_index_once(op.get_bind(), "ix_experiment_status", "experiment", ["status"])
