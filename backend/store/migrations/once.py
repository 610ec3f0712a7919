"""What Alembic cannot do on every server: change something only if it is not so already."""

from typing import Any

from alembic import op
from sqlalchemy import Column, Connection, inspect


def create_index_once(connection: Connection, name: str, table: str, columns: list[str]) -> None:
    """Make an index. MySQL has no CREATE INDEX IF NOT EXISTS."""
    if name not in {index["name"] for index in inspect(connection).get_indexes(table)}:
        op.create_index(name, table, columns)


def add_column_once(connection: Connection, table: str, column: Column[Any]) -> None:
    """Add a column. MySQL has no ADD COLUMN IF NOT EXISTS."""
    if column.name not in {one["name"] for one in inspect(connection).get_columns(table)}:
        op.add_column(table, column)
