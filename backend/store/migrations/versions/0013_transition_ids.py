"""No transition gets the id of one that was removed: who has seen that one would miss it.

SQLite gives the highest ids a second time unless told otherwise (its documentation, AUTOINCREMENT);
MySQL and MariaDB do not.
"""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the table anew on SQLite, in the migration's one transaction."""
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table(
            "transition", recreate="always", table_kwargs={"sqlite_autoincrement": True}
        ):
            pass
