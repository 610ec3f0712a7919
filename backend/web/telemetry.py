"""What Prometheus reads at /metrics: requests and submissions, and experiments by status.

Each web worker counts in files of its own, in the folder that `telemetry_folder` creates
(prometheus_client's multiprocess mode). Without that folder, as in tests, there is one process and
it counts in memory.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from flask import Flask, Request, Response
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from backend.domain.exceptions import StoreUnavailable
from backend.domain.status import Status
from backend.experiments.health import unheard_counter
from backend.web.telemetry_folder import VARIABLE

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

COUNT_SECONDS = 10  # that the numbers of experiments may be out of date
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
KNOWN_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
SUBMISSION = "experiments.submit_experiment"
OUTCOMES = {201: "created", 202: "accepted", 200: "existing", 409: "conflict", 422: "invalid"}

Counts = Callable[[], Mapping[str, int]]


class Telemetry:
    """The metrics of the web role."""

    def __init__(self, app: Flask, counts: Counts) -> None:
        """Measure the requests of `app`; `counts` returns the number of experiments by status."""
        self._folder = os.environ.get(VARIABLE)
        # prometheus_client chose where to count when it was imported, perhaps before the folder
        # was created: choose again.
        values.ValueClass = values.get_value_class()
        self._registry = CollectorRegistry()
        self._experiments = ExperimentCollector(counts)
        self._seconds = Histogram(
            "hello_flask_http_request_seconds",
            "Time from a request to the start of its response, by route.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._submissions = Counter(
            "hello_flask_submissions",
            "Submissions by outcome.",
            ("outcome",),
            registry=self._registry,
        )
        self._streams = Gauge(
            "hello_flask_streams_open",
            "Responses that are being sent piece by piece.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._unheard = unheard_counter(self._registry)
        app.after_request(self._count_stream)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        registry = self._registry
        if self._folder:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._folder)
        return generate_latest(registry) + generate_latest(self._experiments)

    def count(self, environ: "WSGIEnvironment", status: int, seconds: float) -> None:
        """Count a request that Flask has handled.

        Args:
            environ: the WSGI environment of the request.
            status: the status of the response.
            seconds: the time until the response started.
        """
        request: Request = environ["werkzeug.request"]  # put there by Werkzeug's Request
        rule = request.url_rule
        # Labels must take few values, whatever clients send.
        method = request.method if request.method in KNOWN_METHODS else "other"
        route = rule.rule if rule else "none"
        self._seconds.labels(method, route, str(status)).observe(seconds)
        if rule and rule.endpoint == SUBMISSION:
            self._submissions.labels(OUTCOMES.get(status, "refused")).inc()

    def log_unheard(self) -> None:
        """Count a log whose end was lost."""
        self._unheard.inc()

    def _count_stream(self, response: Response) -> Response:
        if response.is_streamed:
            self._streams.inc()
            response.call_on_close(self._streams.dec)
        return response


class ExperimentCollector(Collector):
    """The number of experiments by status; none while the database is unavailable.

    The database is asked at most every COUNT_SECONDS.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._last: Mapping[str, int] = {}
        self._counted_at: float | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield the gauge that Prometheus reads."""
        now = time.monotonic()
        if self._counted_at is None or now - self._counted_at >= COUNT_SECONDS:
            try:
                self._last = self._counts()
            except StoreUnavailable:
                return
            self._counted_at = now
        family = GaugeMetricFamily("hello_flask_runs", "Experiments by status.", labels=("status",))
        for status in Status:
            family.add_metric((status,), self._last.get(status, 0))
        yield family
