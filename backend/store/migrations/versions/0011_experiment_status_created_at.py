"""The index by which experiments are listed of one status by created_at."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the index unless a killed migration has made it already."""
    create_index_once(
        op.get_bind(), "ix_experiment_status_created_at", "experiment", ["status", "created_at"]
    )
