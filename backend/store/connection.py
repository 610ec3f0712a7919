"""A connection to MySQL or MariaDB that knows how long a server may be silent, and when."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql

# A server that hangs costs a ping and a connect before it is called away: under two seconds.
PING_SECONDS = 0.5  # an idle connection answers at once or not at all
CONNECT_SECONDS = 1.1  # above the second after which a lost SYN is sent again (RFC 6298)


class ServerConnection(pymysql.Connection):
    """A connection that gives up sooner on a greeting or a ping than on an answer.

    PyMySQL's `read_timeout` bounds all three, and its `connect_timeout` TCP's handshake alone: a
    server that hangs is still connected to, by its kernel.
    """

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

    @contextmanager
    def _giving_up_after(self, seconds: float) -> Iterator[None]:
        usual = self._read_timeout, self._write_timeout
        self._read_timeout = self._write_timeout = seconds
        try:
            yield
        finally:
            self._read_timeout, self._write_timeout = usual
