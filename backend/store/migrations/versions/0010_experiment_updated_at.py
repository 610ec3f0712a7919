"""Index updated_at, by which experiments are listed."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(op.get_bind(), "ix_experiment_updated_at", "experiment", ["updated_at"])
