"""Never reuse the id of a removed transition: a listener that has seen it would miss the new one.

SQLite reuses the highest ids without AUTOINCREMENT (its documentation); MySQL and MariaDB do not.
"""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Recreate the table on SQLite, within the transaction of the migration."""
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table(
            "transition", recreate="always", table_kwargs={"sqlite_autoincrement": True}
        ):
            pass
