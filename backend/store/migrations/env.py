"""Alembic's entry point: runs the migrations on the locked connection of `schema.migrate`."""

from alembic import context

from backend.store.schema import VERSION_TABLE
from backend.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
