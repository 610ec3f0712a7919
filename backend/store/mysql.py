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

    def connect(self, sock: Any = None) -> None:
        """Connect and log in; each step may take CONNECT_SECONDS."""
        with self._timeout(CONNECT_SECONDS):
            super().connect(sock)

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
