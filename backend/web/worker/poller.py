"""The web worker: its main thread waits for all clients, its pool of threads for none.

A thread receives a request when it is whole, and gives the connection back whenever the client has
to read before more of the answer can be sent. Only two kinds hold a thread while they wait, and
each has a limit: streams (MAX_STREAMS), and requests that are too long to be received first (LONG).
"""

import errno
import selectors
import socket
import struct
import time
from collections.abc import Generator
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any, cast

from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.workers.gthread import ThreadWorker

from backend.web import slow_clients
from backend.web.worker.connection import HEAD_BYTES, Connection, State
from backend.web.worker.limits import LONG
from backend.web.worker.refusals import TOO_MANY_UPLOADS, Refused, answer, refusal

QUEUE_SECONDS = 60.0  # that another one waits for that
CLOSE_SECONDS = 2.0  # for a client to close its side: RFC 9112, 9.6
STOP_SECONDS = 2.0  # that an idle connection of a stopping worker stays open
SWEEP_SECONDS = 0.25  # between two searches for connections whose time is up
RECEIVE_BYTES = 16 * 1024  # at once
QUICK_SECONDS = 0.05  # that a thread waits for a client to read, if no other needs the thread
BUSY_SECONDS = 30  # until a client that was refused should try again
TURN_SECONDS = 0.05  # that an answer may hold a thread while others wait for one
FILE_BYTES = 64 * 1024  # read at once of a static file
DRAIN_BYTES = 64 * 1024  # of a body that the app did not read; otherwise the connection is closed
HELD_BYTES = 32 * 1024 * 1024  # of all connections without a thread, with what follows
SENT_BYTES = 64 * 1024  # that an answer of known length counts for while it waits, such as a file
MADE_BYTES = 1024 * 1024  # that one counts for which is computed while it is sent
FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: discard what was not delivered
EVENTS = {
    State.READING: selectors.EVENT_READ,
    State.SENDING: selectors.EVENT_WRITE,
    State.CLOSING: selectors.EVENT_READ,
}


class PollingWorker(ThreadWorker):
    """gunicorn's threaded worker, in which waiting for a client holds no thread.

    TLS and HTTP/2 are left to a proxy.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parked: dict[Connection, None] = {}  # without a thread; the longest first
        self._long = 0
        self._held = 0
        self._busy = 0  # connections that have a thread, or wait for one
        self._swept = 0.0

    @classmethod
    def check_config(cls, cfg: Config, log: Logger) -> None:
        """Refuse TLS, which this worker does not speak."""
        if cfg.is_ssl:
            raise RuntimeError("certfile and keyfile cannot be used: a proxy has to serve TLS")

    # What a connection waits for. Only the main thread calls these.

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; if there are too many, close the one that was idle the longest."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in FULL:
                self._evict()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._evict()
        self._await_request(Connection(self.cfg, client, address, listener.getsockname()))

    def _await_request(self, conn: Connection) -> None:
        if conn.received and conn.is_ready():  # it was sent together with the last one
            self._dispatch(conn)
            return
        idle = max(self.cfg.keepalive, slow_clients.GRACE_SECONDS) if self.alive else STOP_SECONDS
        seconds = slow_clients.GRACE_SECONDS if conn.received else idle
        self._park(conn, State.READING, seconds)

    def _park(self, conn: Connection, state: State, seconds: float) -> None:
        """Wait for at most `seconds`."""
        conn.state, conn.deadline = state, time.monotonic() + seconds
        self._parked[conn] = None
        if state in EVENTS:
            self.poller.register(conn.sock, EVENTS[state], partial(self._wake, conn))
        self._count(conn)

    def _unpark(self, conn: Connection) -> None:
        del self._parked[conn]
        if conn.state in EVENTS:
            self.poller.unregister(conn.sock)
        self._held, conn.held = self._held - conn.held, 0

    def _wake(self, conn: Connection, _sock: socket.socket) -> None:
        if conn not in self._parked:  # it was closed since the poller looked
            return
        if conn.state is State.READING:
            self._receive(conn)
        elif conn.state is State.SENDING:
            self._unpark(conn)
            self.enqueue_req(conn)
        else:
            self._discard(conn)

    def _receive(self, conn: Connection) -> None:
        try:
            content = conn.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._close(conn)
            return
        if not content and not conn.received:
            self._close(conn)
            return
        if not conn.received:
            conn.deadline = time.monotonic() + slow_clients.GRACE_SECONDS
        conn.received += content
        conn.deadline += len(content) / slow_clients.LOWEST_RATE
        conn.is_ended = not content
        if conn.is_ready():
            self._unpark(conn)
            self._dispatch(conn)
        else:
            self._count(conn)

    def _dispatch(self, conn: Connection) -> None:
        """Pass a request to a thread, or let it wait if it is a long one and there are too many."""
        if conn.is_long:
            if self._long >= LONG:
                self._park(conn, State.QUEUED, QUEUE_SECONDS)
                return
            self._long += 1
            conn.has_place = True
        self.enqueue_req(conn)

    def _end_request(self, conn: Connection) -> None:
        """Pass on the place of a long request."""
        if not conn.has_place:
            return
        conn.has_place = False
        self._long -= 1
        waiting = next((other for other in self._parked if other.state is State.QUEUED), None)
        if waiting:
            self._unpark(waiting)
            self._dispatch(waiting)

    def enqueue_req(self, conn: Any) -> None:
        """Queue a connection for the next idle thread."""
        self._busy += 1
        super().enqueue_req(conn)

    def finish_request(self, conn: Any, fs: "Future[Any]") -> None:
        """Park or close a connection that a thread has returned."""
        self._busy -= 1
        if fs.cancelled() or fs.exception():
            self._close(conn)
            return
        state = fs.result()
        if state is State.SENDING and not conn.sender.held:
            self.enqueue_req(conn)
            return
        if state is State.SENDING:
            conn.allowance.spend(0, conn.sender.delivered())
            self._park(conn, state, conn.allowance.seconds)
            return
        self._end_request(conn)
        if state is State.READING:
            conn.next_request()
            self._await_request(conn)
            return
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
        else:
            self._park(conn, State.CLOSING, CLOSE_SECONDS)

    def _discard(self, conn: Connection) -> None:
        """Discard what a client still sends: otherwise it might never read the answer."""
        try:
            if not conn.sock.recv(RECEIVE_BYTES):
                self._close(conn)
        except BlockingIOError:
            pass
        except OSError:
            self._close(conn)

    def _close(self, conn: Connection, *, reset: bool = False) -> None:
        """Close a connection; with `reset`, do not deliver what is left."""
        if conn in self._parked:
            self._unpark(conn)
        self.nr_conns -= 1
        if conn.answer is not None:
            self.tpool.submit(conn.answer.close)
            conn.answer = None
        if reset:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        conn.close()
        self._end_request(conn)

    # Limits.

    def murder_keepalived(self, force: bool = False) -> None:
        """End the connections whose time is up, or all of them."""
        now = time.monotonic()
        if force or now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            for conn in [conn for conn in self._parked if force or conn.deadline <= now]:
                self._expire(conn, now, force)

    def _expire(self, conn: Connection, now: float, force: bool) -> None:
        if conn.state is State.SENDING and not force:
            conn.allowance.spend(conn.allowance.seconds, conn.sender.delivered())
            conn.deadline = now + conn.allowance.seconds
            if conn.allowance.seconds <= 0:
                self._close(conn, reset=True)
        elif conn.state is State.QUEUED and not force:
            self._unpark(conn)
            conn.answer = self._refuse(conn)
            self.enqueue_req(conn)
        else:
            self._close(conn, reset=conn.state is State.SENDING)

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections by `deadline` at the latest, because the worker stops."""
        for conn in self._parked:
            if conn.state is State.READING and not conn.received:
                conn.deadline = min(conn.deadline, deadline)

    def _evict(self) -> None:
        """Close the connection that has been idle the longest, or else one that is incomplete."""
        idle = (conn for conn in self._parked if conn.state is State.READING and not conn.received)
        others = (conn for conn in self._parked if conn.state in (State.READING, State.CLOSING))
        victim = next(idle, None) or next(others, None)
        if victim:
            self._close(victim)

    def _count(self, conn: Connection) -> None:
        """Count the bytes of a connection; if there are too many, close the one parked first."""
        held = len(conn.received) + conn.sender.held + conn.weight
        self._held, conn.held = self._held + held - conn.held, held
        while self._held > HELD_BYTES:
            holders = [other for other in self._parked if other.held]
            if len(holders) < 2:
                break
            self._close(holders[0], reset=True)

    # What a thread does.

    def handle(self, conn: Any) -> Any:
        """Answer a request, or continue to, until the client has to be waited for.

        Returns:
            What the connection waits for next.
        """
        if conn.answer is None:
            conn.answer = self._answer(conn)
        try:
            next(conn.answer)
        except StopIteration as end:
            conn.answer = None
            return State.READING if end.value else State.CLOSING
        return State.SENDING

    def _answer(self, conn: Connection) -> Generator[None, None, bool]:
        """Answer one request; yield whenever the client has to read first.

        Returns:
            Whether the connection can be used for another request.
        """
        request: Any = None
        response: Any = None
        try:
            conn.begin()
            request = next(conn.parser, None)
            if request is None:
                return False
            response, environ = wsgi.create(
                request, conn.sender, conn.client, conn.server, self.cfg
            )
            yield from self._respond(conn, request, response, environ)
            return not response.should_close() and conn.parser.finish_body(max_bytes=DRAIN_BYTES)
        except NoMoreData:
            if conn.is_overlong:
                too_long = LimitRequestHeaders(f"the head is longer than {HEAD_BYTES} bytes")
                self._explain(conn, None, too_long)
                yield from self._flush(conn)
        except OSError as error:
            if error.errno not in GONE:
                self.log.exception("Socket error processing request.")
        except Exception as error:
            if response is not None and response.headers_sent:
                self.log.exception("Error handling request")
            else:
                self._explain(conn, request, error)
            yield from self._flush(conn)
        return False

    def _explain(self, conn: Connection, request: Any, error: Exception) -> None:
        """Log an error of a request that the app did not answer, and answer it."""
        refused = Refused()
        self.handle_error(request, cast(socket.socket, refused), conn.client, error)
        conn.sender.sendall(refusal(refused.status, error, conn.language))

    def _refuse(self, conn: Connection) -> Generator[None, None, bool]:
        busy = answer(503, TOO_MANY_UPLOADS, conn.language, retry_after=BUSY_SECONDS)
        conn.sender.sendall(busy)
        yield from self._flush(conn)
        return False

    def _flush(self, conn: Connection) -> Generator[None, None, None]:
        """Send what is queued; yield whenever the client has to read first.

        A client that reads on soon is waited for here, unless somebody else needs the thread.
        """
        if not conn.sender.flush() and self._has_idle_threads:
            conn.sender.wait(QUICK_SECONDS)
        while not conn.sender.flush():
            yield

    @property
    def _has_idle_threads(self) -> bool:
        return self._busy < int(self.cfg.threads)

    def _respond(
        self, conn: Connection, request: Any, response: Any, environ: Any
    ) -> Generator[None, None, None]:
        """Call the app, and send its response; as `handle_request` of gunicorn's worker does."""
        begun = datetime.now()
        environ["wsgi.multithread"] = True
        environ["wsgi.file_wrapper"] = lambda file, _size=0: wsgi.FileWrapper(file, FILE_BYTES)
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        if not self.alive or not self.cfg.keepalive:
            response.force_close()
        self.cfg.pre_request(self, request)
        try:
            body = self.wsgi(environ, response.start_response)
            try:
                conn.weight = MADE_BYTES if response.response_length is None else SENT_BYTES
                until = time.monotonic() + TURN_SECONDS
                for piece in body:
                    response.write(piece)
                    yield from self._flush(conn)
                    if time.monotonic() > until and not self._has_idle_threads:
                        yield  # so that short answers need not wait for long ones
                        conn.weight = MADE_BYTES if response.response_length is None else SENT_BYTES
                until = time.monotonic() + TURN_SECONDS
                response.close()
                yield from self._flush(conn)
            finally:
                conn.weight = 0
                self.log.access(response, request, environ, datetime.now() - begun)
                if hasattr(body, "close"):
                    body.close()
        finally:
            self.cfg.post_request(self, request, environ, response)
