"""HTTP as this client needs it: bounded in time and size, and repeated where that is harmless.

One connection per request: a client object may be used by several threads, and survives a fork.
Redirects are not followed, because a token would be sent to another server. Proxies are not used.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from backend import __version__
from hello_flask.answer import BROKEN, Answer, cause
from hello_flask.configuration import Configuration
from hello_flask.errors import (
    HelloFlaskError,
    OlderServer,
    Problem,
    ServerAway,
    Unavailable,
    problem,
)

TIMEOUT_SECONDS = 60.0  # of connecting, and between two pieces of an answer
PATIENCE_SECONDS = 30.0  # for which a request is repeated
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
MAX_ANSWER_BYTES = 512 * 2**20  # of a JSON document, which is kept in memory
MAX_PROBLEM_BYTES = 2**20
PASSING = (429, 503, 504)  # statuses after which the same request may succeed
UNKNOWN_ADDRESS = "There is nothing at this address"

Query = list[tuple[str, str]]


class Readable(Protocol):
    """A file, as far as sending it needs one."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most `size` of them."""


class Pauses:
    """The pauses between the attempts at a request that fails."""

    def __init__(
        self, patience: float, sleep: Callable[[float], None], clock: Callable[[], float]
    ) -> None:
        """Allow attempts for `patience` seconds after the first failure."""
        self._patience, self._sleep, self._clock = patience, sleep, clock
        self.reset()

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._pause = FIRST_PAUSE_SECONDS
        self._end: float | None = None

    def wait(self, error: HelloFlaskError) -> None:
        """Pause, or raise `error` if the patience is at its end."""
        now = self._clock()
        if self._end is None:
            self._end = now + self._patience
        wanted = error.retry_after if isinstance(error, Unavailable) else 0.0
        pause = max(self._pause, min(wanted, LONGEST_PAUSE_SECONDS))
        if now + pause > self._end:
            raise error
        self._sleep(pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)


class Transport:
    """Sends requests to one server.

    Attributes:
        url: the address of the server.
        sleep: pauses for a number of seconds.
        clock: returns seconds that only grow.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        timeout: float = TIMEOUT_SECONDS,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = configuration.url
        self.sleep, self.clock = sleep, clock
        self._token, self._timeout, self._patience = configuration.token, timeout, patience
        parts = urlsplit(configuration.url)
        self._host, self._port, self._prefix = parts.hostname or "", parts.port, parts.path
        self._is_secure = parts.scheme == "https"

    def pauses(self, patience: float | None = None) -> Pauses:
        """Return pauses for `patience` seconds, by default those of this transport."""
        chosen = self._patience if patience is None else patience
        return Pauses(chosen, self.sleep, self.clock)

    def ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Any = None,
        *,
        repeatable: bool = False,
    ) -> tuple[Any, Answer]:
        """Send a request, and return the JSON of its answer, and the answer.

        Args:
            method: the HTTP method.
            path: percent-encoded, with a leading slash.
            query: names and values, which may be repeated.
            body: sent as JSON if it is not None.
            repeatable: whether the request may be sent again although it may have been obeyed. A
                GET always may; any other is sent again only if the server was not reached.

        Raises:
            ServerAway: the server cannot be reached.
            Problem: it refused the request.
        """
        content = None if body is None else json.dumps(body, default=_plain).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        pauses = self.pauses()
        while True:
            try:
                with self.open(method, path, query, content, headers) as answer:
                    return self.parsed(answer), answer
            except (ServerAway, Unavailable) as error:
                if not _may_repeat(error, method, repeatable=repeatable):
                    raise
                pauses.wait(error)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: bytes | Readable | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Answer]:
        """Send a request once, and return its answer for a `with` block.

        Raises:
            ServerAway: the server cannot be reached, or its answer breaks off in the block.
            Problem: it refused the request.
        """
        target = f"{self._prefix}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = self._headers(headers or {})
        reached = False
        with closing(self._connection()) as connection:
            try:
                connection.connect()
                reached = True
                _send(connection, method, target, body, sent)
                response = connection.getresponse()
            except BROKEN as error:
                raise ServerAway(f"{self.url} {cause(error)}.", reached=reached) from error
            answer = Answer(self.url, response)
            if not 200 <= response.status < 300:
                raise self._refusal(path, answer)
            yield answer

    def _connection(self) -> http.client.HTTPConnection:
        if self._is_secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        ours = {"User-Agent": f"hello-flask/{__version__}", "Accept": "application/json"}
        if self._token:
            ours["Authorization"] = f"Bearer {self._token}"
        return ours | dict(headers)

    def _refusal(self, path: str, answer: Answer) -> HelloFlaskError:
        """Return the exception of an answer that is not a success."""
        status = answer.status
        if status < 400:
            place = answer.headers.get("Location", "another address")
            detail = f"{self.url} redirects to {place}: use that address."
            return Problem(status, {"detail": detail})
        try:
            document = json.loads(answer.read(MAX_PROBLEM_BYTES))
        except ValueError:
            document = None
        if not isinstance(document, dict) or "detail" not in document:
            document = {"detail": f"{self.url} answered with HTTP status {status} alone."}
            is_ours = False
        else:
            is_ours = not str(document["detail"]).startswith(UNKNOWN_ADDRESS)
        if status == 405 or (status == 404 and not is_ours):
            return self._unknown_address(path)
        found = problem(status, document)
        if isinstance(found, Unavailable):
            found.retry_after = _seconds(answer.headers.get("Retry-After"))
        return found

    def _unknown_address(self, path: str) -> HelloFlaskError:
        stranger = Problem(404, {"detail": f"{self.url} is not a hello-flask: check the address."})
        if path == "/healthz":
            return stranger
        try:
            with self.open("GET", "/healthz") as answer:
                version = self.parsed(answer)["version"]
        except (HelloFlaskError, KeyError, TypeError):
            return stranger
        return OlderServer(
            f"{self.url} is hello-flask {version}, which does not know this request ({path}); this "
            f"client is {__version__}. Update the server."
        )

    def parsed(self, answer: Answer) -> Any:
        """Return the JSON of an answer; None of an empty one."""
        text = answer.read(MAX_ANSWER_BYTES)
        try:
            return json.loads(text) if text.strip() else None
        except ValueError as error:
            raise ServerAway(
                f"{self.url} did not answer with JSON: is it the address of a hello-flask?"
            ) from error


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | Readable | None,
    headers: Mapping[str, str],
) -> None:
    try:
        connection.request(method, target, body, dict(headers))
    except (BrokenPipeError, ConnectionResetError):
        if body is None:
            raise
        # A server that refuses a body may answer before it has read all of it.


def _may_repeat(error: ServerAway | Unavailable, method: str, *, repeatable: bool) -> bool:
    """Return whether a request that failed may be sent again without harm."""
    repeatable = repeatable or method == "GET"
    if isinstance(error, ServerAway):
        return repeatable or not error.reached
    return repeatable and (error.status in PASSING or (method == "GET" and error.status == 502))


def _plain(value: Any) -> Any:
    """Return a number of numpy, or another value with `item`, as Python's own."""
    if not hasattr(value, "item"):
        raise TypeError(f"{value!r} is neither a number nor text")
    return value.item()


def _seconds(text: str | None) -> float:
    """Return the seconds of a Retry-After header; 0 without one, or if it is a date."""
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0.0
