"""One answer of the server, read piece by piece. What breaks off is noticed."""

import http.client
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hello_flask.errors import ServerAway

PIECE_BYTES = 64 * 1024
MAX_LINE_BYTES = 16 * 2**20  # of a stream of events
BROKEN = (OSError, http.client.HTTPException)  # what a connection fails with


class Event(NamedTuple):
    """One server-sent event.

    Attributes:
        name: of its kind; empty for the usual one.
        id: the number that a later request may continue after; empty if it has none.
        data: its text.
    """

    name: str
    id: str
    data: str


class Answer:
    """An answer whose body has not been read.

    Attributes:
        status: the HTTP status.
        headers: by name, in any case.
    """

    def __init__(self, url: str, response: http.client.HTTPResponse) -> None:
        self.status: int = response.status
        self.headers = response.headers
        self._url, self._response = url, response

    @property
    def size(self) -> int | None:
        """The size of the body in bytes, if the server says so."""
        return self._response.length

    def read(self, limit: int) -> bytes:
        """Return the body.

        Raises:
            ServerAway: it breaks off, or is longer than `limit` bytes.
        """
        found = bytearray()
        for piece in self.pieces():
            found += piece
            if len(found) > limit:
                raise ServerAway(f"{self._url} sent more than {limit} bytes.", reached=True)
        return bytes(found)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body piece by piece.

        Raises:
            ServerAway: it breaks off.
        """
        while piece := self._guarded(self._response.read, PIECE_BYTES):
            yield piece
        if self._response.length:  # bytes that were announced and did not come
            raise ServerAway(f"{self._url} broke off its answer.", reached=True)

    def events(self) -> Iterator[Event]:
        """Yield the server-sent events of the body as they come, until it ends or breaks off."""
        name, number, lines = "", "", list[str]()
        size = 0
        while line := self._guarded(self._response.readline, MAX_LINE_BYTES):
            if not line.endswith(b"\n"):
                return
            field, _, value = line.decode(errors="replace").rstrip("\r\n").partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                lines.append(value)
                size += len(line)
                if size > MAX_LINE_BYTES:
                    raise ServerAway(f"{self._url} sent an event without an end.", reached=True)
            elif field == "event":
                name = value
            elif field == "id":
                number = value
            elif not field and not value:
                if lines:
                    yield Event(name, number, "\n".join(lines))
                name, number, lines, size = "", "", [], 0

    def _guarded(self, read: Callable[[int], bytes], limit: int) -> bytes:
        """Return what `read` returns, and raise ServerAway instead of the errors of connections."""
        try:
            return read(limit)
        except BROKEN as error:
            raise ServerAway(f"{self._url} broke off its answer: it {cause(error)}.") from error


def cause(error: Exception) -> str:
    """Return what happened to a connection, as the end of a sentence that begins with its URL."""
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection: check that the server is running there"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted here ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached ({error.strerror})"
    if isinstance(error, http.client.HTTPException) and not isinstance(
        error, http.client.RemoteDisconnected
    ):
        return "did not answer as HTTP servers do"
    return "closed the connection without an answer"
