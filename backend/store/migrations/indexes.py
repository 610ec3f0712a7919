"""What Alembic cannot do on every server: make an index only if it is not there."""

from alembic import op
from sqlalchemy import Connection, inspect


def create_index_once(connection: Connection, name: str, table: str, columns: list[str]) -> None:
    """Make an index. MySQL has no CREATE INDEX IF NOT EXISTS."""
    if name not in {index["name"] for index in inspect(connection).get_indexes(table)}:
        op.create_index(name, table, columns)
