"""Time limits for clients that send or read slowly, and a socket's two directions with them."""

import errno
import fcntl
import select
import socket
import struct
import sys
import termios
import time
from typing import Any

GRACE_SECONDS = 10.0  # to send a request, in addition to the time that its size allows
LOWEST_RATE = 16 * 1024  # bytes per second
PAUSE_SECONDS = 60.0  # that a client may stop reading a response, or sending a long request


class Allowance:
    """The time that a client may still take.

    Each byte adds the time that it takes at LOWEST_RATE, up to PAUSE_SECONDS in all. A client
    that is slower than that rate therefore ends, however much it sent or read quickly before.
    """

    def __init__(self, seconds: float) -> None:
        """Allow `seconds` in which nothing needs to be sent or read."""
        self.seconds = seconds

    def spend(self, seconds: float, size: int = 0) -> None:
        """Take off `seconds` in which the client sent or read `size` bytes."""
        self.seconds = min(self.seconds - seconds + size / LOWEST_RATE, PAUSE_SECONDS)


class Receiver:
    """The source of gunicorn's parser: what the client sends, with a time limit."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        self._allowance = Allowance(GRACE_SECONDS)
        self._is_whole = False

    def begin_request(self, *, is_whole: bool = False) -> None:
        """Reset the time limit for the next request; one that is whole receives nothing more."""
        self._allowance = Allowance(GRACE_SECONDS)
        self._is_whole = is_whole

    def recv(self, size: int) -> bytes:
        """Receive up to `size` bytes, and wait for them if the request is not whole.

        Raises:
            ConnectionResetError: the client has sent more slowly than LOWEST_RATE; the connection
                cannot be used any more.
        """
        if self._is_whole:
            return b""
        before = time.monotonic()
        content = b""
        self._inner.settimeout(max(self._allowance.seconds, 0.001))
        try:
            content = self._inner.recv(size)
        except TimeoutError as error:
            raise ConnectionResetError(errno.ECONNRESET, "the client sends too slowly") from error
        finally:
            self._inner.settimeout(0)
            self._allowance.spend(time.monotonic() - before, len(content))
        return content


class Sender:
    """The socket as gunicorn's responses see it: writing queues, and `flush` sends without waiting.

    Attributes:
        held: the bytes that are queued.
    """

    def __init__(self, inner: socket.socket) -> None:
        """Send to `inner`, which must not be blocking."""
        self._inner = inner
        self._queue: list[bytes | memoryview] = []
        self._sent = 0
        self.held = 0

    def sendall(self, content: bytes) -> None:
        """Queue `content`."""
        if content:
            self._queue.append(content)
            self.held += len(content)

    def send(self, content: bytes) -> int:
        """Queue `content` and send what the client accepts: gunicorn sends "100 Continue" so."""
        self.sendall(content)
        self.flush()
        return len(content)

    def flush(self) -> bool:
        """Send what the client accepts at once; return whether nothing is left."""
        while self._queue:
            try:
                count = self._inner.sendmsg(self._queue)
            except BlockingIOError:
                return False
            self._sent += count
            self.held -= count
            while count:
                first = self._queue[0]
                if count < len(first):
                    self._queue[0] = memoryview(first)[count:]
                    break
                count -= len(first)
                del self._queue[0]
        return True

    def wait(self, seconds: float) -> None:
        """Wait until the client accepts more, but at most `seconds`."""
        poll = select.poll()
        poll.register(self._inner, select.POLLOUT)
        poll.poll(1000 * seconds)

    def delivered(self) -> int:
        """Return how many bytes the client's side has acknowledged since the last call.

        What lies in the socket's buffer is megabytes, in which a slow client and one that has
        stopped cannot be told apart.
        """
        waiting: int = 0
        if sys.platform == "linux":  # SIOCOUTQ of tcp(7)
            answer = fcntl.ioctl(self._inner, termios.TIOCOUTQ, bytes(4))
            (waiting,) = struct.unpack("i", answer)
        self._sent, delivered = waiting, self._sent - waiting
        return delivered

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
