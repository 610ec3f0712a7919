"""The index by which experiments are listed by created_at."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the index unless a killed migration has made it already."""
    create_index_once(op.get_bind(), "ix_experiment_created_at", "experiment", ["created_at"])
