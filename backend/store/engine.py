"""Connections that outlive a restart of the server, and transactions that are tried again."""

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

ANSWER_SECONDS = 10  # a long list, a lock that somebody holds
POOL_SECONDS = 2
POOL_SIZE = 8  # threads of one web worker
RECYCLE_SECONDS = 1800
TRIES = 5
TRY_SECONDS = 1.0  # a lost connection shows at once; what took longer hangs, and would again
PAUSE_SECONDS = 0.02

DEADLOCK = {1205, 1213}  # MySQL: lock wait timeout, deadlock; the server rolled back
NO_SUCH_TABLE = 1146  # MySQL: somebody has put an empty database in its place
DENIED = {1044, 1045, 1049, 1142, 1698}  # access denied (database, user, command), no such database

log = logging.getLogger(__name__)
T = TypeVar("T")


class StoreUnavailable(Exception):
    """The database cannot be used now; nothing of the transaction was kept, or it was kept whole.

    Attributes:
        denied: it answers, and refuses this user: somebody has to mend the settings.
        away: it does not answer, as opposed to not now: the next call would wait in vain too.
    """

    def __init__(self, message: str, *, denied: bool = False, away: bool = False) -> None:
        super().__init__(message)
        self.denied, self.away = denied, away


class CircuitBreaker:
    """Keeps threads from piling up in front of a database that is away.

    Once it did not answer, one call at a time tries whether it is back; all others are told at once
    that it is not. The first answer lets everybody through again, so nothing is lost by waiting.
    """

    def __init__(self) -> None:
        self._trial = threading.Lock()
        self._away = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Go around one call of the database.

        Raises:
            StoreUnavailable: another call is trying already.
        """
        trying = self._away
        if trying and not self._trial.acquire(blocking=False):
            raise StoreUnavailable("it did not answer a moment ago", away=True)
        try:
            yield
        except StoreUnavailable as error:
            self._away = self._away or error.away
            raise
        else:
            self._away = False
        finally:
            if trying:
                self._trial.release()


def make_engine(url: URL, *, answer_seconds: int = ANSWER_SECONDS) -> Engine:
    """Make an engine; nothing is connected before the first use, so it may be made before a fork.

    `answer_seconds` is how long one statement may take on a database server.

    With the execution option `reading` each statement stands for itself: there is no transaction
    to begin and to end. With `read_committed` a transaction sees what others have committed.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": 5})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # Its driver and cryptography take 8 MB, which SQLite does not need.
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

    A lost connection or a deadlock is tried again, so `work` must be right when a first try was
    committed unnoticed.

    Raises:
        StoreUnavailable: the database cannot be used now.
    """
    deadline = time.monotonic() + TRY_SECONDS
    for number in itertools.count(1):
        try:
            with engine.begin() as connection:
                return work(connection)
        except (OperationalError, InterfaceError) as error:
            deadlock = _error_code(error) in DEADLOCK and number < TRIES
            lost = error.connection_invalidated and time.monotonic() < deadline
            if not (deadlock or lost):
                raise unavailable(error) from error
            time.sleep(PAUSE_SECONDS * random.random())  # noqa: S311  (jitter)
        except ProgrammingError as error:
            if _error_code(error) != NO_SUCH_TABLE:
                raise
            raise StoreUnavailable(str(error.orig)) from error
        except PoolTimeout as error:
            raise StoreUnavailable("all connections to the database are in use") from error
    raise AssertionError("unreachable")


def unavailable(error: DBAPIError) -> StoreUnavailable:
    """Turn the driver's error into ours, and write it to the log."""
    # The driver's own words, without the statement and its values.
    log.warning("The database cannot be used: %s", error.orig)
    code = _error_code(error)
    away = code is not None and code not in DEADLOCK  # SQLite, a file, is locked but never away
    return StoreUnavailable(str(error.orig), denied=code in DENIED, away=away)


def _error_code(error: DBAPIError) -> int | None:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver would begin transactions on its own, and too late: SQLAlchemy's documentation,
    # SQLite, "Enabling Non-Legacy SQLite Transactional Modes".
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get("reading", False):
        # A transaction that turns from reading to writing could not wait for its turn.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_on_server(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("reading", False):
        return
    if options.get("read_committed", False):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # of the next
    connection.exec_driver_sql("BEGIN")
