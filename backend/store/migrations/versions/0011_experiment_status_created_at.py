"""Index status and created_at, by which the experiments of a status are listed."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(
        op.get_bind(), "ix_experiment_status_created_at", "experiment", ["status", "created_at"]
    )
