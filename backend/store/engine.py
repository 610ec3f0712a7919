"""Engines that survive a restart of the database server, and transactions that are retried."""

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.domain.exceptions import StoreUnavailable

ANSWER_SECONDS = 10  # enough for a long list, or to wait for a lock
POOL_SECONDS = 2  # to wait for a free connection
POOL_SIZE = 8  # the threads of one web worker
RECYCLE_SECONDS = 1800
MAX_TRIES = 5  # after deadlocks
RETRY_SECONDS = (
    1.0  # a lost connection is noticed at once; a call that took longer would hang again
)
MAX_PAUSE_SECONDS = 0.02  # before the next try

# Error codes of MySQL and MariaDB.
DEADLOCK = {1205, 1213}  # lock wait timeout, deadlock; the server rolled back
NO_SUCH_TABLE = 1146  # the database was replaced by an empty one
DENIED = {1044, 1045, 1049, 1142, 1698}  # access denied (database, user, command), no such database

# The server answers reads, but refuses to write: read-only servers, sessions and storage.
READ_ONLY = {1223, 1290, 1792, 1836, 1874}
FULL = {1021, 1114}
SQLITE_READ_ONLY, SQLITE_FULL = 8, 13  # primary result codes of SQLite
UNDECODABLE = "Could not decode to UTF-8 column"  # of the sqlite3 module; it has no code
CAUSES = {
    "read-only": "The database is read-only: experiments can be read, but nothing was changed. "
    "Send the same again when it can be written.",
    "full": "The database has no space left: experiments can be read, but nothing was changed. "
    "Send the same again when it has.",
}

log = logging.getLogger(__name__)
T = TypeVar("T")


class CircuitBreaker:
    """Keeps threads from queueing for a database that is away.

    After a call was not answered, the breaker is open: one call at a time probes the database, and
    all others fail immediately. The first answer closes it again.
    """

    def __init__(self) -> None:
        self._probe = threading.Lock()
        self._is_open = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Guard one call of the database.

        Raises:
            StoreUnavailable: the breaker is open, and another call is probing.
        """
        is_probe = self._is_open
        if is_probe and not self._probe.acquire(blocking=False):
            raise StoreUnavailable("it did not answer a moment ago", away=True)
        try:
            yield
        except StoreUnavailable as error:
            self._is_open = self._is_open or error.away
            raise
        else:
            self._is_open = False
        finally:
            if is_probe:
                self._probe.release()


def make_engine(url: URL, *, answer_seconds: int = ANSWER_SECONDS) -> Engine:
    """Return an engine. It connects on first use, so it may be created before a fork.

    The execution option `reading` makes each statement stand alone, without a transaction to begin
    and end. With `read_committed` a transaction sees what others commit meanwhile.

    Args:
        url: the database.
        answer_seconds: how long a database server may take for one statement.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": 5})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # Imported here: the driver and cryptography take 8 MB, which SQLite does not need.
    from backend.store.mysql import CONNECT_SECONDS, CONVERSIONS, ServerConnection

    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": answer_seconds,
            "write_timeout": answer_seconds,
            "autocommit": True,
            "conv": CONVERSIONS,
        },
    )
    event.listen(
        engine, "do_connect", lambda _, __, args, options: ServerConnection(*args, **options)
    )
    event.listen(engine, "begin", _begin_on_server)
    return engine


def transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction and return what it returns.

    It is retried after a lost connection or a deadlock, so `work` must do no harm if an earlier
    try was committed and only its answer was lost.

    Raises:
        StoreUnavailable: the database cannot be used now.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    for number in itertools.count(1):
        try:
            with engine.begin() as connection:
                try:
                    return work(connection)
                except UnicodeDecodeError as error:
                    connection.invalidate()  # PyMySQL leaves the rest of the rows unread
                    raise StoreUnavailable(str(error), undecodable=True) from error
        except (OperationalError, InterfaceError) as error:
            deadlock = _error_code(error) in DEADLOCK and number < MAX_TRIES
            lost = error.connection_invalidated and time.monotonic() < deadline
            if not (deadlock or lost):
                raise unavailable(error) from error
            time.sleep(MAX_PAUSE_SECONDS * random.random())  # noqa: S311  (jitter)
        except ProgrammingError as error:
            if _error_code(error) != NO_SUCH_TABLE:
                raise
            raise StoreUnavailable(str(error.orig)) from error
        except PoolTimeout as error:
            raise StoreUnavailable("all connections to the database are in use") from error
    raise AssertionError("unreachable")


def unavailable(error: DBAPIError) -> StoreUnavailable:
    """Log the driver's error and return ours."""
    # `orig` is the driver's message, without the statement and its values.
    log.warning("The database cannot be used: %s", error.orig)
    code, cause = _error_code(error), _cause(error)
    # SQLite has no codes: a file is never away. Nor is a server that only refuses to write.
    away = code is not None and code not in DEADLOCK and not cause
    return StoreUnavailable(
        str(error.orig),
        denied=code in DENIED,
        away=away,
        cause=cause,
        undecodable=str(error.orig).startswith(UNDECODABLE),
    )


def _cause(error: DBAPIError) -> str:
    """Return why the database can be read but not written; an empty text for other errors."""
    code, sqlite_code = _error_code(error), getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code in READ_ONLY or sqlite_code == SQLITE_READ_ONLY:
        return CAUSES["read-only"]
    if code in FULL or sqlite_code == SQLITE_FULL:
        return CAUSES["full"]
    return ""


def _error_code(error: DBAPIError) -> int | None:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver would begin transactions by itself, but too late (SQLAlchemy's documentation,
    # SQLite, "Enabling Non-Legacy SQLite Transactional Modes").
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get("reading", False):
        # A transaction that begins by reading and then writes could not wait for the lock.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_on_server(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("reading", False):
        return
    if options.get("read_committed", False):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    connection.exec_driver_sql("BEGIN")
