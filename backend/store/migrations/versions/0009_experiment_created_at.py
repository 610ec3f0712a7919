"""Index created_at, by which experiments are listed."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(op.get_bind(), "ix_experiment_created_at", "experiment", ["created_at"])
