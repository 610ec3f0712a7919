"""The index by which the history of one experiment is read."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the index unless a killed migration has made it already."""
    create_index_once(op.get_bind(), "ix_transition_experiment", "transition", ["experiment"])
