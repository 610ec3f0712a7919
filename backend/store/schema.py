"""Migrates the database to the schema that this version needs."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, inspect, text
from sqlalchemy.exc import InterfaceError, OperationalError

from backend.domain.exceptions import SchemaError, StoreUnavailable
from backend.store.engine import make_engine, transact, unavailable
from backend.store.tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "hello_flask_schema"
HEAD = "0030"
MIGRATION_SECONDS = 3600  # for one statement on a large table
LOCK_SECONDS = (
    30  # to wait for another process that is migrating, which takes 10 s on a busy machine
)


def is_current(engine: Engine) -> bool:
    """Return whether the schema is the one that this version needs.

    Raises:
        StoreUnavailable: the database cannot be used now.
        SchemaError: it was migrated by a newer version of this program.
    """
    return transact(engine, _version) == HEAD


def migrate(url: URL) -> None:
    """Apply the missing migrations. Of several processes that call this at once, one applies them.

    Raises:
        StoreUnavailable: the database cannot be used now, or another process is still migrating.
        SchemaError: it holds tables of our names that this program did not create, or a newer
            schema. Nothing was changed.
    """
    engine = make_engine(url, answer_seconds=MIGRATION_SECONDS)
    try:
        with engine.connect() as connection, migration_lock(connection):
            if _version(connection) == HEAD:
                return
            _check_ours(connection)
            connection.rollback()  # Alembic begins its own transaction
            if connection.dialect.name == "sqlite":
                _enable_write_ahead_log(connection)
            _upgrade(connection)
    except (OperationalError, InterfaceError) as error:
        raise unavailable(error) from error
    finally:
        engine.dispose()


def _enable_write_ahead_log(connection: Connection) -> None:
    # Readers then do not wait for a writer. The setting is stored in the file, so once is enough.
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA journal_mode=WAL")


def _upgrade(connection: Connection) -> None:
    from alembic import command  # imported here: it takes 0.1 s and 10 MB
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    if version is not None and version > HEAD:
        raise SchemaError(
            f"The database was migrated by a newer version of this program (schema {version}, "
            f"this one knows {HEAD}): start that version."
        )
    return version


def _check_ours(connection: Connection) -> None:
    """Raise SchemaError if tables of our names exist without the version table.

    The version table is created before any other.
    """
    tables = set(inspect(connection).get_table_names())
    foreign = sorted(tables & set(metadata.tables))
    if foreign and VERSION_TABLE not in tables:
        raise SchemaError(
            f"The database {connection.engine.url.database!r} already holds a table "
            f"{' and '.join(map(repr, foreign))} that this program has not made. Nothing was "
            "changed. Give this program a database of its own (DB_NAME), or rename the table."
        )


@contextmanager
def migration_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock that lets one process at a time migrate the database.

    Raises:
        StoreUnavailable: another process has held it for LOCK_SECONDS.
    """
    engine = connection.engine
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.migrate-lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    # The server releases it when the connection ends. A name has at most 64 characters.
    name = hashlib.sha256(f"migrate {engine.url.database}".encode()).hexdigest()[:32]
    is_locked = connection.execute(
        text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": LOCK_SECONDS}
    ).scalar()
    if is_locked != 1:
        raise StoreUnavailable("another process is migrating the database")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
