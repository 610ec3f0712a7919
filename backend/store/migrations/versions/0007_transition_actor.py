"""Add the actor of a transition: the name of a token."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column unless an interrupted migration has done so."""
    add_column_once(op.get_bind(), "transition", sa.Column("actor", sa.String(64)))
