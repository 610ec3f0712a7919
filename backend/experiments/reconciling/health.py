"""The health of the reconciler: /healthz, /readyz and /metrics on a small server of its own.

The metrics are in the text format of Prometheus; their names follow its naming practices.
"""

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from io import BytesIO

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from backend.addresses import socket_address

PATIENCE_SECONDS = 60.0  # without a successful pass until the reconciler is not ready
MAX_CLIENTS = 64  # of the health server at once
CLIENT_SECONDS = 5.0  # in which a client has to send its request
HEAD_BYTES = 8192  # of a request
POLL_SECONDS = 0.5
BACKLOG = 128  # connections that the system keeps until they are accepted

# Counted by both roles: each of them may save a log.
LOST_ENDS = "hello_flask_log_ends_lost"
LOST_ENDS_HELP = "Logs whose end was lost, because their pod was gone before it was read."

log = logging.getLogger(__name__)


class Passes:
    """The outcomes of the reconciler's passes.

    The first failure is logged as a warning, and as an error once none has succeeded for
    PATIENCE_SECONDS; so is the recovery.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin as if a pass had just succeeded; `clock` returns seconds."""
        self._clock = clock
        self._last_success = clock()
        self._is_failing = self._is_reported = False
        self._reason = "no pass has finished yet"
        self._is_waiting = False
        self._waiting_trouble: str | None = None
        self._registry = CollectorRegistry()
        prefix, registry = "hello_flask_reconcile", self._registry
        self._passes = Counter(f"{prefix}_passes", "Passes, failed ones too.", registry=registry)
        self._failures = Counter(f"{prefix}_failures", "Passes that failed.", registry=registry)
        self._experiment_failures = Counter(
            f"{prefix}_experiment_failures",
            "Unforeseen errors in one experiment, which did not hold up the others.",
            registry=registry,
        )
        self._lost_ends = Counter(LOST_ENDS, LOST_ENDS_HELP, registry=registry)
        self._webhooks = Counter(
            "hello_flask_webhook_notices",
            "Notices to webhooks: delivered, failed once more, given up.",
            ["outcome"],
            registry=registry,
        )
        self._duration = Gauge(
            f"{prefix}_last_pass_duration_seconds",
            "Duration of the last pass.",
            registry=registry,
        )
        age = Gauge(
            f"{prefix}_last_good_pass_age_seconds",
            "Time since the last pass that succeeded.",
            registry=registry,
        )
        age.set_function(lambda: 0.0 if self._is_waiting else self._age)
        leads = Gauge(
            f"{prefix}_leads",
            "1 if this reconciler works, 0 if it waits to replace the one that does.",
            registry=registry,
        )
        leads.set_function(lambda: float(not self._is_waiting))

    def stand_by(self, trouble: str | None) -> None:
        """Record that another reconciler leads; `trouble` is why this one could not replace it."""
        self._is_waiting, self._waiting_trouble = True, trouble

    def lead(self) -> None:
        """Record that this reconciler works from now on."""
        self._is_waiting = False
        self._last_success = self._clock()

    def succeeded(self, seconds: float) -> None:
        """Record a successful pass that took `seconds`."""
        self._passes.inc()
        self._duration.set(seconds)
        if self._is_failing:
            level = logging.ERROR if self._is_reported else logging.WARNING
            log.log(level, "Reconciling works again, after %.0f s.", self._age)
        self._is_failing = self._is_reported = False
        self._last_success = self._clock()

    def experiment_failed(self) -> None:
        """Count an unforeseen error in one experiment."""
        self._experiment_failures.inc()

    def log_end_lost(self) -> None:
        """Count a log whose end was lost."""
        self._lost_ends.inc()

    def webhook(self, outcome: str, number: int = 1) -> None:
        """Count notices to a webhook: `delivered`, `failed` or `given_up`."""
        self._webhooks.labels(outcome).inc(number)

    def failed(self, seconds: float, reason: str, error: Exception | None = None) -> None:
        """Record a pass that failed after `seconds`; log the traceback of an unforeseen `error`."""
        self._passes.inc()
        self._failures.inc()
        self._duration.set(seconds)
        self._reason = reason
        if not self._is_failing:
            log.warning("Cannot reconcile; trying again: %s", reason, exc_info=error)
        self._is_failing = True
        if self.trouble and not self._is_reported:
            self._is_reported = True
            log.error("No pass has succeeded for %.0f s: %s", self._age, reason)

    @property
    def trouble(self) -> str | None:
        """Why the reconciler is not ready, or None if it is: at work, or to replace the leader."""
        if self._is_waiting:
            return self._waiting_trouble
        if self._age < PATIENCE_SECONDS:
            return None
        return f"No pass has succeeded for {self._age:.0f} s: {self._reason}"

    def metrics(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    @property
    def _age(self) -> float:
        return self._clock() - self._last_success


def serve_health(address: str, passes: Passes) -> "HealthServer":
    """Serve at `address` (HOST:PORT) in a thread of its own.

    `/healthz` always answers 200; `/readyz` answers 503 with the reason as text while no pass
    succeeds.
    """
    server = HealthServer(address, passes)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class HealthServer:
    """A server for short requests, which one thread answers when they are whole.

    Clients that send nothing are waited for together: at most MAX_CLIENTS, then the oldest is
    disconnected, and each for at most CLIENT_SECONDS.
    """

    def __init__(self, address: str, passes: Passes) -> None:
        """Listen at `address` (HOST:PORT)."""
        family, target = socket_address(address)
        self._passes = passes
        self._clients: dict[socket.socket, _Client] = {}  # the oldest first
        self._poller = selectors.DefaultSelector()
        self._is_stopping = False
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(target)
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self._poller.register(self._listener, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        """The port it listens at."""
        return int(self._listener.getsockname()[1])

    def serve_forever(self) -> None:
        """Answer until `stop` is called."""
        while not self._is_stopping:
            for key, _ in self._poller.select(POLL_SECONDS):
                if key.data is None:
                    self._accept()
                elif key.data.connection in self._clients:
                    self._receive(key.data)
            now = time.monotonic()
            for client in [one for one in self._clients.values() if one.deadline <= now]:
                self._close(client)
        for client in list(self._clients.values()):
            self._close(client)
        self._poller.close()
        self._listener.close()

    def stop(self) -> None:
        """Stop listening, and close every connection, within POLL_SECONDS."""
        self._is_stopping = True

    def _accept(self) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            self._close(next(iter(self._clients.values())))
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the client has gone, or the process has no file descriptor left
            return
        connection.setblocking(False)
        client = _Client(connection, time.monotonic() + CLIENT_SECONDS)
        self._clients[connection] = client
        self._poller.register(connection, selectors.EVENT_READ, client)

    def _receive(self, client: "_Client") -> None:
        try:
            piece = client.connection.recv(HEAD_BYTES)
            client.received += piece
            is_whole = b"\r\n\r\n" in client.received or b"\n\n" in client.received
            if piece and not is_whole and len(client.received) < HEAD_BYTES:
                return
            answer = _Handler.answer(client.received, self._passes)
            client.connection.send(answer)  # shorter than the buffer of a new connection
            client.connection.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("A client of the health server has gone: %s", error)
        except Exception:
            log.exception("A health check could not be answered.")
        self._close(client)

    def _close(self, client: "_Client") -> None:
        del self._clients[client.connection]
        self._poller.unregister(client.connection)
        client.connection.close()


@dataclass(eq=False)
class _Client:
    connection: socket.socket
    deadline: float
    received: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request that is in memory."""

    protocol_version = "HTTP/1.0"  # one request for each connection
    passes: Passes

    @classmethod
    def answer(cls, received: bytes, passes: Passes) -> bytes:
        """Return the answer to a request."""
        handler = cls.__new__(cls)
        handler.passes = passes
        handler.rfile = BytesIO(received)
        handler.wfile = BytesIO()
        handler.client_address = ("", 0)
        handler.handle_one_request()
        return handler.wfile.getvalue()

    def do_GET(self) -> None:
        match self.path:
            case "/healthz":
                self._answer(200, b"alive\n")
            case "/readyz":
                trouble = self.passes.trouble
                self._answer(503 if trouble else 200, f"{trouble or 'ready'}\n".encode())
            case "/metrics":
                self._answer(200, self.passes.metrics(), CONTENT_TYPE_LATEST)
            case _:
                self._answer(404, b"try /healthz, /readyz or /metrics\n")

    def _answer(
        self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Keep probes out of the log."""
