"""A connection to MySQL or MariaDB that says and waits for no more than it must."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.constants import FIELD_TYPE, SERVER_STATUS
from pymysql.converters import conversions

from backend.domain.timestamps import from_database

# A server that hangs costs a ping and a connect before it is called away: under two seconds.
PING_SECONDS = 0.5  # an idle connection answers at once or not at all
CONNECT_SECONDS = 1.1  # above the second after which a lost SYN is sent again (RFC 6298)
# PyMySQL reads a time by a regular expression, which takes half of the time of a page.
CONVERSIONS = conversions | {FIELD_TYPE.DATETIME: from_database}


class ServerConnection(pymysql.Connection):
    """A connection that ends only what was begun, and gives up sooner on a ping than on an answer.

    PyMySQL's `read_timeout` bounds a greeting, a ping and an answer, and its `connect_timeout`
    TCP's handshake alone: a server that hangs is still connected to, by its kernel.
    """

    server_status: int
    _read_timeout: float | None
    _write_timeout: float | None

    def connect(self, sock: Any = None) -> None:
        """Connect and log in; each step may take CONNECT_SECONDS."""
        with self._giving_up_after(CONNECT_SECONDS):
            super().connect(sock)

    def ping(self, reconnect: Any = False) -> None:
        """Ask for a sign of life, within PING_SECONDS."""
        with self._giving_up_after(PING_SECONDS):
            super().ping(reconnect)

    def commit(self) -> None:
        """Commit what was begun; nothing is sent if nothing was."""
        if self._may_be_in_a_transaction():
            super().commit()

    def rollback(self) -> None:
        """Roll back what was begun; nothing is sent if nothing was."""
        if self._may_be_in_a_transaction():
            super().rollback()

    def _may_be_in_a_transaction(self) -> bool:
        # The server says so with each answer that is no row (MySQL's protocol, status flags).
        begun = self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
        return bool(begun) or not self.get_autocommit()

    @contextmanager
    def _giving_up_after(self, seconds: float) -> Iterator[None]:
        usual = self._read_timeout, self._write_timeout
        self._read_timeout = self._write_timeout = seconds
        try:
            yield
        finally:
            self._read_timeout, self._write_timeout = usual
