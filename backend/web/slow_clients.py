"""Closes connections that are too slow: each would hold one of the server's few threads."""

import errno
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

GRACE_SECONDS = 10.0  # to send a request, in addition to the time that its size allows
LOWEST_RATE = 16 * 1024  # bytes per second
PAUSE_SECONDS = 60.0  # that a client may stop reading a response


class TimeLimitedSocket:
    """A connection's socket that gives up on a client that is too slow.

    gunicorn's threads read headers and bodies, and write responses, without any time limit: a
    client that sends one byte per minute (slowloris, slow POST), or requests something large and
    never reads it (slow read), holds a thread for hours.
    """

    def __init__(self, inner: socket.socket) -> None:
        """Wrap `inner`, which must be blocking."""
        self._inner = inner
        self._received, self._waited = 0, 0.0

    def begin_request(self) -> None:
        """Reset the time limit, for the next request of the connection."""
        self._received, self._waited = 0, 0.0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive up to `size` bytes, with the `flags` of the system call, such as MSG_PEEK.

        Raises:
            ConnectionResetError: the client has sent more slowly than LOWEST_RATE; the connection
                cannot be used any more.
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
        """Send all of `content`.

        Raises:
            ConnectionResetError: the client has read more slowly than LOWEST_RATE, after a pause
                of PAUSE_SECONDS; the connection cannot be used any more.
        """
        self._inner.settimeout(PAUSE_SECONDS + len(content) / LOWEST_RATE)
        try:
            self._inner.sendall(content)
        except TimeoutError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client reads too slowly") from error
        finally:
            self._inner.settimeout(None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TimeLimitedWorker(ThreadWorker):
    """gunicorn's threaded worker, with time limits for slow clients."""

    def handle(self, conn: TConn) -> Any:
        """Handle one request of a connection."""
        connection: Any = conn  # its type says that the socket is a socket.socket
        if not isinstance(connection.sock, TimeLimitedSocket):
            connection.sock = TimeLimitedSocket(connection.sock)
        connection.sock.begin_request()
        return super().handle(conn)
