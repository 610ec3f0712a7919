"""Answers that go on: server-sent events and texts, the same way for all of them.

A stream holds a thread of its web worker, so there are at most MAX_STREAMS of them in each; the
others answer everything else (gunicorn.conf.py). A stream ends when its client has gone, when the
worker stops, and after STREAM_SECONDS; a client then comes again and says what it has seen last
(HTML Standard, "Server-sent events").
"""

import errno
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Request, Response, abort, request

STREAM_SECONDS = 3600.0
KEEPALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 2000  # until a client comes again
EVENT_STREAM = "text/event-stream"
TEXT = "text/plain"
LINE_END = re.compile(r"\r\n|\r|\n")


class TooManyStreams(Exception):
    """The web worker has as many streams as it may.

    Attributes:
        limit: how many those are.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class Streams:
    """The streams of one web worker.

    Attributes:
        is_stopping: tells whether the worker is to end; gunicorn.conf.py sets it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.is_stopping: Callable[[], bool] = lambda: False
        self._free = threading.BoundedSemaphore(limit)

    def answer(self, pieces: Iterable[bytes | None], content_type: str) -> Response:
        """Answer the current request with pieces as they come.

        `pieces` gives None at least every few seconds while there is nothing new: that is when a
        stream looks whether it has to end. A text that has to end before it is over is broken off,
        so that nobody takes it for whole; events just end, and the client comes again.

        Raises:
            TooManyStreams: nothing was begun.
        """
        if not self._free.acquire(blocking=False):
            raise TooManyStreams(self.limit)
        events = content_type == EVENT_STREAM
        connection = request.environ.get("gunicorn.socket")
        response = Response(
            self._run(pieces, connection, events=events),
            content_type=content_type if events else f"{content_type}; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        response.call_on_close(self._free.release)
        return response

    def _run(
        self, pieces: Iterable[bytes | None], connection: socket.socket | None, *, events: bool
    ) -> Iterator[bytes]:
        end = time.monotonic() + STREAM_SECONDS
        # Nothing at first is something: gunicorn then sends the head of the answer.
        yield b"retry: %d\n\n" % RETRY_MILLISECONDS if events else b""
        written = time.monotonic()
        for piece in pieces:
            now = time.monotonic()
            if piece is not None:
                yield piece
                written = now
            elif _is_gone(connection):
                return
            elif events and now - written >= KEEPALIVE_SECONDS:
                yield b": keepalive\n\n"
                written = now
            if self.is_stopping() or now > end:
                if events:
                    return
                # gunicorn then closes the connection without the last chunk.
                raise BrokenPipeError(errno.EPIPE, "the stream has to end before it is over")


def event(data: str, *, name: str = "", number: int | None = None) -> bytes:
    """Write one server-sent event; `number` is its id."""
    head = f"event: {name}\n" if name else ""
    head += f"id: {number}\n" if number is not None else ""
    lines = "".join(f"data: {line}\n" for line in LINE_END.split(data))
    return f"{head}{lines}\n".encode()


def json_event(content: dict[str, Any], *, name: str, number: int | None = None) -> bytes:
    """Write one server-sent event whose data is JSON."""
    return event(json.dumps(content, ensure_ascii=False), name=name, number=number)


def last_event_id(asked: Request) -> int | None:
    """Read the id of the last event that a client has seen, None if it says nothing of it."""
    text = asked.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,18}", text, re.ASCII):
        abort(400, "Last-Event-ID must be the id of an event of this stream, a whole number.")
    return int(text)


def wants_events(asked: Request) -> bool:
    """Tell whether a client asks for server-sent events by name."""
    return any(kind == EVENT_STREAM for kind, _ in asked.accept_mimetypes)


def _is_gone(connection: socket.socket | None) -> bool:
    """Tell whether the client has closed its connection."""
    if connection is None:
        return False
    try:
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True
