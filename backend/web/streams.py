"""Responses that stay open: server-sent events, and text that grows.

A stream occupies a thread of its web worker, so each worker serves at most MAX_STREAMS at once and
keeps its other threads for other requests. A stream ends when its client has gone, when the worker
stops, and after STREAM_SECONDS; the client then reconnects and names the last event it has seen
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

from flask import Response, abort, request

from backend.files.sizes import PIECE_BYTES

STREAM_SECONDS = 3600.0
KEEPALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 2000  # until a client reconnects
EVENT_STREAM = "text/event-stream"
TEXT = "text/plain"
LINE_END = re.compile(r"\r\n|\r|\n")


class TooManyStreams(Exception):
    """The web worker serves as many streams as it may.

    Attributes:
        limit: the largest number of streams of one worker.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} streams are open already (MAX_STREAMS): close one that is not needed, or try "
            "again later. Without follow=true and text/event-stream a log can always be read."
        )
        self.limit = limit


class Streams:
    """The streams of one web worker.

    Attributes:
        limit: the largest number of streams at once.
        is_stopping: returns whether the worker has been told to stop; gunicorn's configuration
            sets it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.is_stopping: Callable[[], bool] = lambda: False
        self._free = threading.BoundedSemaphore(limit)

    def answer(self, pieces: Iterable[bytes | None], content_type: str) -> Response:
        """Return a response to the current request that sends each piece when it comes.

        Args:
            pieces: must yield None at least every few seconds while there is nothing to send: only
                then does the stream notice that it has to end.
            content_type: EVENT_STREAM or TEXT. A stream of events may end at any time, because its
                client reconnects. Text that has to end early is broken off without the last chunk,
                so that no client takes it for complete.

        Raises:
            TooManyStreams: the worker has no thread left for it; `pieces` was not started.
        """
        if not self._free.acquire(blocking=False):
            raise TooManyStreams(self.limit)
        events = content_type == EVENT_STREAM
        connection = request.environ.get("gunicorn.socket")
        response = Response(
            self._send(pieces, connection, events=events),
            content_type=content_type if events else f"{content_type}; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        response.call_on_close(self._free.release)
        return response

    def _send(
        self, pieces: Iterable[bytes | None], connection: socket.socket | None, *, events: bool
    ) -> Iterator[bytes]:
        end = time.monotonic() + STREAM_SECONDS
        # An empty piece makes gunicorn send the headers at once.
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
                # gunicorn closes the connection without the last chunk.
                raise BrokenPipeError(errno.EPIPE, "the stream ends before the text does")


def event(data: str, *, name: str = "", number: int | None = None) -> bytes:
    """Return one server-sent event, with `number` as its id."""
    head = f"event: {name}\n" if name else ""
    head += f"id: {number}\n" if number is not None else ""
    lines = "".join(f"data: {line}\n" for line in LINE_END.split(data))
    return f"{head}{lines}\n".encode()


def json_event(content: dict[str, Any], *, name: str, number: int | None = None) -> bytes:
    """Return one server-sent event whose data is `content` as JSON."""
    return event(json.dumps(content, ensure_ascii=False), name=name, number=number)


def joined(pieces: Iterable[bytes | None]) -> Iterator[bytes | None]:
    """Yield pieces joined up to about PIECE_BYTES, but none later than the next None.

    Sending each line of a long log takes ten times as long as making it.
    """
    together = bytearray()
    for piece in pieces:
        if piece is not None:
            together += piece
        if together and (piece is None or len(together) >= PIECE_BYTES):
            yield bytes(together)
            together.clear()
        if piece is None:
            yield None
    if together:
        yield bytes(together)


def last_event_id() -> int | None:
    """Return the last event that the client of this request has seen, or None if it names none.

    Raises:
        HTTPException: 400 if the header is not a whole number.
    """
    text = request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,18}", text, re.ASCII):
        abort(400, "Last-Event-ID must be the id of an event of this stream, a whole number.")
    return int(text)


def wants_events() -> bool:
    """Return whether the current request asks for server-sent events; `*/*` alone does not."""
    return any(kind == EVENT_STREAM for kind, _ in request.accept_mimetypes)


def _is_gone(connection: socket.socket | None) -> bool:
    """Return whether the client has closed its connection."""
    if connection is None:
        return False
    try:
        poll = select.poll()  # select.select accepts no file descriptor from 1024 on
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0)) and not connection.recv(1, socket.MSG_PEEK)
    except (OSError, ValueError):
        return True
