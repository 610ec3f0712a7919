"""A connection to MySQL or MariaDB without needless round trips and long waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.constants import FIELD_TYPE, SERVER_STATUS
from pymysql.converters import conversions

from backend.domain.timestamps import from_database

# A server that hangs is noticed after a ping and a connect: in less than two seconds.
PING_SECONDS = 0.5  # an idle connection answers at once or not at all
CONNECT_SECONDS = 1.1  # more than the second after which a lost SYN is sent again (RFC 6298)
# What the program relies on, whatever the server's defaults are. PyMySQL would not set autocommit
# if the server's greeting claims it; without it, every read would keep its transaction open.
SESSION = (
    "SET SESSION autocommit = 1, sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', "
    "time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
)
# PyMySQL parses times with a regular expression, which takes half of the time of a page.
CONVERSIONS = conversions | {FIELD_TYPE.DATETIME: from_database}


class ServerConnection(pymysql.Connection):
    """A connection that sends COMMIT and ROLLBACK only if needed, with a short timeout for pings.

    PyMySQL's `connect_timeout` only covers the TCP handshake, which the kernel of a server that
    hangs still completes; the greeting, pings and answers all share `read_timeout`.
    """

    server_status: int
    _read_timeout: float | None
    _write_timeout: float | None

    def __init__(self, *args: Any, password: str = "", **options: Any) -> None:
        """Connect; the arguments are those of pymysql.Connection.

        The password is sent as UTF-8, as the mysql client does; PyMySQL would encode it as Latin-1.
        """
        super().__init__(*args, password=password.encode(), **options)

    def connect(self, sock: Any = None) -> None:
        """Connect, log in and set up the session; each step may take CONNECT_SECONDS."""
        with self._timeout(CONNECT_SECONDS):
            super().connect(sock)
            for statement in SESSION:
                self.query(statement)

    def ping(self, reconnect: Any = False) -> None:
        """Check that the server answers within PING_SECONDS."""
        with self._timeout(PING_SECONDS):
            super().ping(reconnect)

    def commit(self) -> None:
        """Commit the transaction; send nothing if there is none."""
        if self._may_have_transaction():
            super().commit()

    def rollback(self) -> None:
        """Roll back the transaction; send nothing if there is none."""
        if self._may_have_transaction():
            super().rollback()

    def _may_have_transaction(self) -> bool:
        # Part of each OK packet (MySQL's client/server protocol, status flags).
        in_transaction = self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
        return bool(in_transaction) or not self.get_autocommit()

    @contextmanager
    def _timeout(self, seconds: float) -> Iterator[None]:
        previous = self._read_timeout, self._write_timeout
        self._read_timeout = self._write_timeout = seconds
        try:
            yield
        finally:
            self._read_timeout, self._write_timeout = previous
