"""Index the status, by which the reconciler finds live experiments."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(op.get_bind(), "ix_experiment_status", "experiment", ["status"])
