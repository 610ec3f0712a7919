"""One connection of a web worker: what it has received, and what it waits for."""

import re
import socket
from collections.abc import Generator
from enum import Enum, auto
from typing import Any, cast

from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn

from backend.web import slow_clients
from backend.web.languages.current import COOKIE, asked_for
from backend.web.slow_clients import Allowance, Receiver, Sender

HEAD_BYTES = 64 * 1024  # of a request line with its headers
BODY_BYTES = 64 * 1024  # of a body that is received before a thread begins; also a form's limit
HEAD_END = b"\r\n\r\n"
BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")  # which no complete head contains: RFC 9112, 2.2
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
# What names a language: the cookie of the pages and Accept-Language.
LANGUAGE_FIELDS = (
    re.compile(rb"\r\ncookie:(?:[^\r\n]*;)?[ \t]*%b=([a-z]{2})\b" % COOKIE.encode(), re.IGNORECASE),
    re.compile(rb"\r\naccept-language:([^\r\n]{1,200})", re.IGNORECASE),
)
# A client that sends Expect waits for an answer before it sends the body: RFC 9110, 10.1.1.
LONG = re.compile(rb"\r\n(?:transfer-encoding|expect)[ \t]*:", re.IGNORECASE)


class State(Enum):
    """What a connection without a thread waits for."""

    READING = auto()  # the rest of a request
    QUEUED = auto()  # a thread for a long request
    SENDING = auto()  # the client, which has to read before more of the answer can be sent
    CLOSING = auto()  # the client, which has to close its side


class Connection(TConn):
    """A connection; either the worker's main thread or one thread of its pool has it.

    Attributes:
        received: what was received of the next request, or the whole of it.
        is_long: whether a thread has to receive the rest of the request.
        has_place: whether it is one of the long requests that may hold a thread.
        is_ended: whether the client will send nothing more.
        sender: takes what is sent.
        answer: the answer that is being sent; the next step sends what the client accepts.
        state: what the connection waits for.
        deadline: until when it may wait; seconds of the monotonic clock.
        weight: the bytes that an unfinished answer counts for, besides those it has queued.
        held: the bytes that the worker has counted for it.
    """

    parser: Any

    def __init__(self, cfg: Config, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)  # makes `sock` non-blocking
        self.sender: Any = Sender(sock)  # all that gunicorn uses of a socket to answer
        self._receiver = Receiver(sock)
        source = cast(socket.socket, self._receiver)  # a parser only needs its `recv`
        self.parser = RequestParser(cfg, source, client)
        self.received = bytearray()
        self.answer: Generator[None, None, bool] | None = None
        self.state = State.READING
        self.deadline = 0.0
        self.allowance = Allowance(slow_clients.PAUSE_SECONDS)
        self.held = self.weight = 0
        self.has_place = False
        self._reset()

    def _reset(self) -> None:
        self.is_long = self.is_ended = self._is_malformed = False
        self._searched = 0
        self._language_fields: list[str | None] | None = None
        self._size: int | None = None  # of the whole request, once its head is complete

    def next_request(self) -> None:
        """Prepare for the next request, whose beginning may have been received already."""
        self._reset()
        self.received = bytearray(self.parser.unreader.take_buffered())
        self.allowance = Allowance(slow_clients.PAUSE_SECONDS)

    def begin(self) -> None:
        """Pass what was received to the parser."""
        self._language_fields = self._find_language_fields()
        self._receiver.begin_request(is_whole=not self.is_long)
        self.parser.unreader.unread(bytes(self.received))
        self.received = bytearray()

    @property
    def is_overlong(self) -> bool:
        """Whether the head is longer than HEAD_BYTES."""
        return self._size is None and self._searched >= HEAD_BYTES and not self.is_long

    def is_ready(self) -> bool:
        """Return whether a thread can answer the request, or refuse it, without waiting for more.

        A long request is ready when its head is complete.
        """
        if self._size is None:
            self._measure()
        if self._size is None:
            return self.is_ended or self.is_overlong or self._is_malformed
        return self.is_long or self.is_ended or len(self.received) >= self._size

    def _measure(self) -> None:
        """Find out how long the request is, as soon as its head is complete."""
        first = 2 if self.received.startswith(b"\r\n") else 0  # an empty line: RFC 9112, 2.2
        end = self.received.find(HEAD_END, max(first, self._searched - len(HEAD_END)))
        if end < 0:
            self._is_malformed = BARE_LINE_FEED.search(self.received, self._searched) is not None
            self._searched = len(self.received)
            return
        end += len(HEAD_END)
        length = LENGTH.search(self.received, 0, end)
        body = int(length[1]) if length else 0
        self.is_long = body > BODY_BYTES or LONG.search(self.received, 0, end) is not None
        self._size = end + body

    @property
    def language(self) -> str:
        """The language that the request asks for, whose head may be malformed."""
        return asked_for(*(self._language_fields or self._find_language_fields()))

    def _find_language_fields(self) -> list[str | None]:
        found = (field.search(self.received, 0, HEAD_BYTES) for field in LANGUAGE_FIELDS)
        return [match[1].decode("latin-1") if match else None for match in found]
