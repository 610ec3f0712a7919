"""The index by which the owner of a Job is found."""

from alembic import op

from backend.store.migrations.once import create_index_once

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the index unless a killed migration has made it already."""
    create_index_once(op.get_bind(), "ix_experiment_job", "experiment", ["job"])
