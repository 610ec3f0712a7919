"""Schema changes that are skipped if they were made before, for every database server."""

from typing import Any

from alembic import op
from sqlalchemy import Column, Connection, inspect


def create_index_once(
    connection: Connection, name: str, table: str, columns: list[str], *, unique: bool = False
) -> None:
    """Create an index if it is missing. MySQL has no CREATE INDEX IF NOT EXISTS."""
    if name not in {index["name"] for index in inspect(connection).get_indexes(table)}:
        op.create_index(name, table, columns, unique=unique)


def add_column_once(connection: Connection, table: str, column: Column[Any]) -> None:
    """Add a column if it is missing. MySQL has no ADD COLUMN IF NOT EXISTS."""
    if column.name not in {existing["name"] for existing in inspect(connection).get_columns(table)}:
        op.add_column(table, column)
