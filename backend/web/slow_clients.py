"""Ends connections that are too slow, which would each hold one of the server's few threads."""

import errno
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

GRACE_SECONDS = 10.0  # for the first byte, and for what is small
LOWEST_RATE = 16 * 1024  # bytes a second, for what is large
PAUSE_SECONDS = 60.0  # in which a client that takes nothing has to go on


class PatientSocket:
    """A connection's socket that gives up on a client who is too slow.

    gunicorn's threads read headers and bodies, and write answers, without any time limit: a client
    that sends one byte a minute (slowloris, or a slow POST), or asks for something large and never
    takes it (slow read), holds a thread for hours.
    """

    def __init__(self, inner: socket.socket) -> None:
        """Take the place of `inner`."""
        self._inner = inner
        self._received, self._waited = 0, 0.0

    def begin(self) -> None:
        """Begin to count anew, for the next request of the connection."""
        self._received, self._waited = 0, 0.0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive, as long as the sender keeps to the lowest rate.

        `flags` are the kernel's, as MSG_PEEK (recv(2)).

        Raises:
            ConnectionResetError: it does not; the connection cannot be used any more.
        """
        left = GRACE_SECONDS + self._received / LOWEST_RATE - self._waited
        before = time.monotonic()
        self._inner.settimeout(max(left, 0.001))
        try:
            content = self._inner.recv(size, flags)
        except TimeoutError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client sends too slowly") from error
        finally:
            self._waited += time.monotonic() - before
            self._inner.settimeout(None)
        self._received += len(content)
        return content

    def sendall(self, content: bytes) -> None:
        """Send, as long as the receiver keeps to the lowest rate; it may pause within it.

        Raises:
            ConnectionResetError: it does not; the connection cannot be used any more.
        """
        self._inner.settimeout(PAUSE_SECONDS + len(content) / LOWEST_RATE)
        try:
            self._inner.sendall(content)
        except TimeoutError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client takes nothing") from error
        finally:
            self._inner.settimeout(None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class PatientWorker(ThreadWorker):
    """gunicorn's worker of threads, with time limits on clients that are slow."""

    def handle(self, conn: TConn) -> Any:
        """Handle one request of a connection."""
        connection: Any = conn  # whose socket may be anything that behaves as one
        if not isinstance(connection.sock, PatientSocket):
            connection.sock = PatientSocket(connection.sock)
        connection.sock.begin()
        return super().handle(conn)
