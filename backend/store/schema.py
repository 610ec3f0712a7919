"""Brings the database to the schema that this version needs, once, whoever starts first."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, inspect, text
from sqlalchemy.exc import InterfaceError, OperationalError

from backend.store.engine import StoreUnavailable, make_engine, transact, unavailable
from backend.store.tables import metadata

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "hello_flask_schema"
HEAD = "0013"
MIGRATION_SECONDS = 3600  # one statement on a large table
LOCK_SECONDS = 5  # how long to wait for another process that is migrating


class SchemaError(Exception):
    """The database holds something that must not be touched; the message says what and why."""


def is_current(engine: Engine) -> bool:
    """Tell whether the schema is the one that this version needs.

    Raises:
        StoreUnavailable: the database cannot be used now.
        SchemaError: a newer version of this program has migrated it.
    """
    return transact(engine, _version) == HEAD


def migrate(url: URL) -> None:
    """Apply the migrations that are missing. Several may call it at once: one does it.

    Raises:
        StoreUnavailable: the database cannot be used now, or another process is still migrating.
        SchemaError: it holds tables of our names that are not ours, or a newer schema. Nothing
            was touched.
    """
    engine = make_engine(url, answer_seconds=MIGRATION_SECONDS)
    try:
        with engine.connect() as connection, _lock(connection):
            if _version(connection) == HEAD:
                return
            _check_ours(connection)
            connection.rollback()  # Alembic begins its own transaction
            if connection.dialect.name == "sqlite":
                _let_readers_and_a_writer_work_together(connection)
            _upgrade(connection)
    except (OperationalError, InterfaceError) as error:
        raise unavailable(error) from error
    finally:
        engine.dispose()


def _let_readers_and_a_writer_work_together(connection: Connection) -> None:
    # A property of the file, so it is set once, and only of a file that is ours.
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA journal_mode=WAL")


def _upgrade(connection: Connection) -> None:
    from alembic import command  # 0.1 s and 10 MB that a migrated database does not cost
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
    """Our version table is made before any other; without it, tables of our names are not ours."""
    tables = set(inspect(connection).get_table_names())
    foreign = sorted(tables & set(metadata.tables))
    if foreign and VERSION_TABLE not in tables:
        raise SchemaError(
            f"The database {connection.engine.url.database!r} already holds a table "
            f"{' and '.join(map(repr, foreign))} that this program has not made. Nothing was "
            "changed. Give this program a database of its own (DB_NAME), or rename the table."
        )


@contextmanager
def _lock(connection: Connection) -> Iterator[None]:
    engine = connection.engine
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.migrate-lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    # The server frees it when the connection ends, however it ends. At most 64 characters.
    name = hashlib.sha256(f"migrate {engine.url.database}".encode()).hexdigest()[:32]
    got = connection.execute(
        text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": LOCK_SECONDS}
    ).scalar()
    if got != 1:
        raise StoreUnavailable("another process is migrating the database")
    try:
        yield
    finally:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
