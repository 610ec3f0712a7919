"""Add the files that each experiment uses, and what is known of the files of the input folder."""

import sqlalchemy as sa
from alembic import op

from backend.store.migrations.once import add_column_once, create_index_once
from backend.store.tables import ByteName, Identity, LongText, UTCDateTime

revision = "0021"
down_revision = "0020"

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


def upgrade() -> None:
    """Make each of the changes that an interrupted migration has not made."""
    connection = op.get_bind()
    add_column_once(connection, "experiment", sa.Column("inputs", LongText))
    op.create_table(
        "data_set",
        sa.Column("name", ByteName, primary_key=True),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", LongText),
        sa.Column("uploaded_at", UTCDateTime),
        sa.Column("uploaded_by", sa.String(64)),
        if_not_exists=True,
        **_OPTIONS,
    )
    op.create_table(
        "experiment_input",
        sa.Column(
            "experiment",
            Identity,
            sa.ForeignKey(
                "experiment.id", name="fk_experiment_input_experiment", ondelete="CASCADE"
            ),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("name", ByteName, primary_key=True),
        sa.Column("sha256", sa.String(64)),
        if_not_exists=True,
        **_OPTIONS,
    )
    for column in ("name", "sha256"):
        create_index_once(
            connection,
            f"ix_experiment_input_{column}",
            "experiment_input",
            [column, "experiment"],
        )
    unless_there = "OR IGNORE" if connection.dialect.name == "sqlite" else "IGNORE"
    op.execute(
        f"INSERT {unless_there} INTO experiment_input (experiment, name) "  # noqa: S608
        "SELECT id, dataset FROM experiment WHERE dataset IS NOT NULL"
    )
