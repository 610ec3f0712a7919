"""The health of the reconciler: /healthz, /readyz and /metrics on a small server of its own.

The metrics are in the text format of Prometheus; their names follow its naming practices.
"""

import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from backend.settings import socket_address

PATIENCE_SECONDS = 60.0  # without a successful pass until the reconciler is not ready

log = logging.getLogger(__name__)


def unheard_counter(registry: CollectorRegistry) -> Counter:
    """Return the counter of lost log ends, which both roles have: each of them may save a log."""
    return Counter(
        "hello_flask_log_ends_lost",
        "Logs whose end was lost, because their pod was gone before it was read.",
        registry=registry,
    )


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
        self._registry = CollectorRegistry()
        prefix, registry = "hello_flask_reconcile", self._registry
        self._passes = Counter(f"{prefix}_passes", "Passes, failed ones too.", registry=registry)
        self._failures = Counter(f"{prefix}_failures", "Passes that failed.", registry=registry)
        self._experiment_failures = Counter(
            f"{prefix}_experiment_failures",
            "Unforeseen errors in one experiment, which did not hold up the others.",
            registry=registry,
        )
        self._unheard = unheard_counter(registry)
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
        age.set_function(lambda: self._age)

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

    def log_unheard(self) -> None:
        """Count a log whose end was lost."""
        self._unheard.inc()

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
        """Why the reconciler is not ready, or None if it is."""
        if self._age < PATIENCE_SECONDS:
            return None
        return f"No pass has succeeded for {self._age:.0f} s: {self._reason}"

    def metrics(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    @property
    def _age(self) -> float:
        return self._clock() - self._last_success


def serve_health(address: str, passes: Passes) -> ThreadingHTTPServer:
    """Serve at `address` (HOST:PORT) in a thread of its own.

    `/healthz` always answers 200; `/readyz` answers 503 with the reason as text while no pass
    succeeds.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    self._answer(200, b"alive\n")
                case "/readyz":
                    trouble = passes.trouble
                    self._answer(503 if trouble else 200, f"{trouble or 'ready'}\n".encode())
                case "/metrics":
                    self._answer(200, passes.metrics(), CONTENT_TYPE_LATEST)
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

    family, target = socket_address(address)
    # The class makes its socket when it is called, of the family that it names.
    listener = type("HealthServer", (ThreadingHTTPServer,), {"address_family": family})
    server: ThreadingHTTPServer = listener(target, Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
