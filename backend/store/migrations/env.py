"""What Alembic runs: on the connection that `schema.migrate` hands over, and holds the lock on."""

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
