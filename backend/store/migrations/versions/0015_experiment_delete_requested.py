"""Index delete_requested_at, by which the reconciler finds unfinished deletions."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(
        op.get_bind(), "ix_experiment_delete_requested_at", "experiment", ["delete_requested_at"]
    )
