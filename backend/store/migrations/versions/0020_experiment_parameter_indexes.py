"""Index learning_rate and epoch, by which lists are sorted."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Create the indexes that an interrupted migration has not created."""
    for column in ("learning_rate", "epoch"):
        create_index_once(op.get_bind(), f"ix_experiment_{column}", "experiment", [column])
