"""The index by which experiments are listed of one status by updated_at."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Make the index unless a killed migration has made it already."""
    create_index_once(
        op.get_bind(), "ix_experiment_status_updated_at", "experiment", ["status", "updated_at"]
    )
