"""The connection pool of one process: transactions, guarded and on a current schema."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Select, delete, select

from backend.domain.exceptions import StoreUnavailable
from backend.domain.owner import Owner
from backend.store import damage, ownership, schema
from backend.store.engine import ANSWER_SECONDS, CircuitBreaker, make_engine, transact
from backend.store.tables import experiment

T = TypeVar("T")


class Database:
    """One database. Every method but `close` raises StoreUnavailable if it cannot be used.

    A function given to `read` or `write` may be called again after a lost connection or a
    deadlock, see `transact`.

    Attributes:
        url: where the database is.
        engine: the engine of all transactions.
        is_server: True for MySQL and MariaDB, False for SQLite.
    """

    def __init__(
        self,
        url: URL,
        *,
        answer_seconds: int = ANSWER_SECONDS,
        find_owner: Callable[[], Owner] | None = None,
    ) -> None:
        """Prepare to use the database at `url`; the first statement connects.

        Args:
            url: the database.
            answer_seconds: how long a database server may take for one statement.
            find_owner: returns whose the database has to be; by default that is not checked.
        """
        self.url = url
        self.engine = make_engine(url, answer_seconds=answer_seconds)
        self.is_server = url.get_backend_name() != "sqlite"
        self._reader = self.engine.execution_options(reading=True)
        self._breaker = CircuitBreaker()
        self._find_owner = find_owner
        self._is_prepared = False

    def prepare(self) -> None:
        """Migrate the schema if it is not the one that this version needs, and check the owner.

        Raises:
            StoreUnavailable: the database cannot be used now.
            SchemaError: it holds tables that must not be changed, or belongs to another server.
        """
        if not schema.is_current(self._reader):
            schema.migrate(self.url)
        if self._find_owner:
            ownership.check(self.engine, self._find_owner)
        self._is_prepared = True

    def close(self) -> None:
        """Close all connections; the next statement opens new ones."""
        self.engine.dispose()

    def ping(self) -> None:
        """Check that the database answers."""
        self.read(lambda connection: connection.execute(select(1)))

    def write_problem(self) -> str:
        """Return why the database can be read but not written; an empty text if it can be."""
        nothing = delete(experiment).where(experiment.c.id == 0)  # ids begin at 1
        try:
            self.write(lambda connection: connection.execute(nothing))
        except StoreUnavailable as error:
            if not error.cause:
                raise
            return error.cause
        return ""

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns. Each of its statements stands alone, without a transaction.

        Saves the round trips of BEGIN and COMMIT.
        """
        return self._guarded(self._reader, work)

    def rows(
        self, query: Select[Any], values: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of a query; damaged text is replaced, see `damage`."""
        try:
            return self.read(lambda connection: connection.execute(query, values).all())
        except StoreUnavailable as error:
            if not error.undecodable:
                raise
        names = [column.key for column in query.selected_columns]
        bytewise = damage.lenient(query)
        rows = self.read(lambda connection: connection.execute(bytewise, values).all())
        return [damage.repaired(row, names) for row in rows]

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and return what it returns."""
        return self._guarded(self.engine, work)

    def read_committed(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction that sees what others commit meanwhile.

        It bypasses the circuit breaker: `work` may wait for the locks of other transactions, which
        does not mean that the database is away.
        """
        return transact(self.engine.execution_options(read_committed=True), work)

    def _guarded(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with self._breaker.call():
            if not self._is_prepared:
                self.prepare()
            try:
                return transact(engine, work)
            except StoreUnavailable:
                self._is_prepared = False  # the next one to answer may be a new, empty database
                raise
