"""What Prometheus reads at /metrics: requests and submissions of all web workers, runs from SQL.

The workers count in files of their own (the client's multiprocess mode) in the folder of
`shared_counts`; without it, as in tests, one process counts for itself.
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
from backend.web.telemetry_folder import FOLDER

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

COUNT_SECONDS = 10  # how old the numbers of runs may be
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
SUBMISSION = "experiments.submit_experiment"
OUTCOMES = {201: "created", 202: "accepted", 200: "existing", 409: "conflict", 422: "invalid"}

Counts = Callable[[], Mapping[str, int]]


class Telemetry:
    """The numbers of one web role."""

    def __init__(self, app: Flask, counts: Counts) -> None:
        """Measure the app's requests; `counts` asks the database for the runs by status."""
        self._folder = os.environ.get(FOLDER)
        # The client has chosen when it was imported, which may be before there was a folder.
        values.ValueClass = values.get_value_class()
        self._registry = CollectorRegistry()
        self._runs = _Runs(counts)
        self._seconds = Histogram(
            "hello_flask_http_request_seconds",
            "From a request to the beginning of its answer, by the route's template.",
            ("method", "route", "status"),
            buckets=SECONDS,
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
            "Answers that are being sent piece by piece.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._known: dict[tuple[str, str, int], Histogram] = {}
        app.after_request(self._count_stream)

    def text(self) -> bytes:
        """Give all numbers in Prometheus' text format."""
        registry = self._registry
        if self._folder:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._folder)
        return generate_latest(registry) + generate_latest(self._runs)

    def count(self, environ: "WSGIEnvironment", status: int, seconds: float) -> None:
        """Count a request whose answer of that status begins after so many seconds."""
        asked: Request = environ["werkzeug.request"]  # Werkzeug's Request writes itself there
        rule, method = asked.url_rule, asked.method
        self._timer(method, rule.rule if rule else "none", status).observe(seconds)
        if rule and rule.endpoint == SUBMISSION:
            self._submissions.labels(OUTCOMES.get(status, "refused")).inc()

    def _count_stream(self, response: Response) -> Response:
        if response.is_streamed:
            self._streams.inc()
            response.call_on_close(self._streams.dec)
        return response

    def _timer(self, method: str, route: str, status: int) -> Histogram:
        """Find the histogram of a request. Its labels take few values, whatever clients send."""
        key = (method if method in METHODS else "other", route, status)
        if key not in self._known:
            self._known[key] = self._seconds.labels(*map(str, key))
        return self._known[key]


class _Runs(Collector):
    """The runs by status, asked for every COUNT_SECONDS; none while the database is away."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._last: Mapping[str, int] = {}
        self._until = 0.0

    def collect(self) -> Iterable[Metric]:
        if time.monotonic() >= self._until:
            try:
                self._last = self._counts()
            except StoreUnavailable:
                return
            self._until = time.monotonic() + COUNT_SECONDS
        family = GaugeMetricFamily("hello_flask_runs", "Runs by status.", labels=("status",))
        for status in Status:
            family.add_metric((status,), self._last.get(status, 0))
        yield family
