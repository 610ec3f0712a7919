"""Add tags, notes and favourites, and the parameters by name, by which lists are filtered."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once, create_index_once
from backend.store.tables import ByteText, FoldedText, Identity

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add what an interrupted migration has not added: tables, columns, indexes."""
    _create_table("tag", _name())
    _create_table("note", sa.Column("content", sa.Text, nullable=False))
    _create_table("parameter", _name(), sa.Column("number", sa.Double), sa.Column("text", ByteText))
    for name, table, columns in (
        ("ix_tag_name", "tag", ["name", "experiment"]),
        ("ix_parameter_number", "parameter", ["name", "number", "experiment"]),
        ("ix_parameter_text", "parameter", ["name", "text", "experiment"]),
    ):
        create_index_once(op.get_bind(), name, table, columns)
    for column in (
        sa.Column("tags", sa.Text),
        sa.Column("favourite", sa.Boolean(create_constraint=False)),
        sa.Column("revision", sa.Integer),
        sa.Column("submitted_by", sa.String(64)),
        sa.Column("folded_id", FoldedText),
        sa.Column("is_indexed", sa.Boolean(create_constraint=False)),
    ):
        add_column_once(op.get_bind(), "experiment", column)
    for indexed in ("favourite", "is_indexed"):
        create_index_once(op.get_bind(), f"ix_experiment_{indexed}", "experiment", [indexed])


def _name() -> sa.Column[str]:
    return sa.Column("name", ByteText, primary_key=True)


def _create_table(name: str, *columns: sa.Column[Any]) -> None:
    """Create a table of rows that go with those of their experiments."""
    experiment = sa.ForeignKey("experiment.id", name=f"fk_{name}_experiment", ondelete="CASCADE")
    op.create_table(
        name,
        sa.Column("experiment", Identity, experiment, primary_key=True, autoincrement=False),
        *columns,
        if_not_exists=True,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
    )
