"""How the reconciler is: /healthz, /readyz and /metrics, for it serves nothing else.

The metrics are in the text format of Prometheus; their names follow its naming practices.
"""

import logging
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

PATIENCE_SECONDS = 60.0  # without one good pass, and the reconciler is not ready

log = logging.getLogger(__name__)


class Passes:
    """Keeps count of the passes, and is loud when none has been good for a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin as if a pass had just been good; `clock` gives seconds."""
        self._clock = clock
        self._last_good = clock()
        self._failing = self._loud = False
        self._reason = "no pass has ended yet"
        self._registry = CollectorRegistry()
        prefix, registry = "hello_flask_reconcile", self._registry
        self._number = Counter(f"{prefix}_passes", "Passes, good or not.", registry=registry)
        self._failures = Counter(f"{prefix}_failures", "Passes that failed.", registry=registry)
        self._duration = Gauge(
            f"{prefix}_last_pass_duration_seconds", "How long it took.", registry=registry
        )
        age = Gauge(
            f"{prefix}_last_good_pass_age_seconds", "How long ago it ended.", registry=registry
        )
        age.set_function(lambda: self._age)

    def succeeded(self, seconds: float) -> None:
        """Note a good pass that took so long."""
        self._number.inc()
        self._duration.set(seconds)
        if self._failing:
            log.log(
                logging.ERROR if self._loud else logging.WARNING,
                "Reconciling works again, after %.0f s.",
                self._age,
            )
        self._failing = self._loud = False
        self._last_good = self._clock()

    def failed(self, seconds: float, reason: str) -> None:
        """Note a pass that failed after so long."""
        self._number.inc()
        self._failures.inc()
        self._duration.set(seconds)
        self._reason = reason
        if not self._failing:
            log.warning("Cannot reconcile, and will try again: %s", reason)
        self._failing = True
        if self.trouble and not self._loud:
            self._loud = True
            log.error("Nothing could be reconciled for %.0f s: %s", self._age, reason)

    @property
    def trouble(self) -> str | None:
        """Say why the reconciler is not ready, or None if it is."""
        if self._age < PATIENCE_SECONDS:
            return None
        return f"Nothing could be reconciled for {self._age:.0f} s: {self._reason}"

    def metrics(self) -> bytes:
        """Give the metrics as Prometheus reads them."""
        return generate_latest(self._registry)

    @property
    def _age(self) -> float:
        return self._clock() - self._last_good


def serve_health(address: str, passes: Passes) -> ThreadingHTTPServer:
    """Answer at `address` (HOST:PORT) from a thread.

    `/healthz` is 200 always, `/readyz` 503 with the reason as text while the passes are in trouble.
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
                    self._answer(404, b"there are /healthz, /readyz and /metrics\n")

        def _answer(
            self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8"
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Keep probes out of the log."""

    host, _, port = address.rpartition(":")
    server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
