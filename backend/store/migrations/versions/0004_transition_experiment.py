"""Index the experiment of a transition, by which a history is read."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(op.get_bind(), "ix_transition_experiment", "transition", ["experiment"])
