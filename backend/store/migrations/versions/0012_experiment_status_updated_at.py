"""Index status and updated_at, by which the experiments of a status are listed."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(
        op.get_bind(), "ix_experiment_status_updated_at", "experiment", ["status", "updated_at"]
    )
