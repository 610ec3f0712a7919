"""Index the Job, by which its experiment is found."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the index unless an interrupted migration has done so."""
    create_index_once(op.get_bind(), "ix_experiment_job", "experiment", ["job"])
