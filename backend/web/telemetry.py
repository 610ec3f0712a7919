"""What Prometheus reads at /metrics: requests and submissions, and experiments by status.

The web workers count in memory that they share (`shared_counts`). An error there never reaches an
answer: it is logged once.
"""

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from flask import Flask, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from backend.domain.exceptions import StoreUnavailable
from backend.domain.status import Status
from backend.experiments.reconciling.health import LOST_ENDS, LOST_ENDS_HELP
from backend.web.shared_counts import Key, SharedCounts

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

COUNT_SECONDS = 10  # that the numbers of experiments may be out of date
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
BUCKET_NAMES = [*map(floatToGoString, BUCKETS), "+Inf"]
KNOWN_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
SUBMISSION = "experiments.submit_experiment"
OUTCOMES = {201: "created", 202: "accepted", 200: "existing", 409: "conflict", 422: "invalid"}
# The first part of a key of the shared counts; the others are the values of its labels.
REQUESTS, SUBMISSIONS, STREAMS = "requests", "submissions", "streams"
SUM = len(BUCKET_NAMES)  # position of the sum of seconds, after the buckets

Counts = Callable[[], Mapping[str, int]]

log = logging.getLogger(__name__)


class Telemetry:
    """The metrics of the web role."""

    def __init__(self, app: Flask, counts: Counts) -> None:
        """Measure the requests of `app`; `counts` returns the number of experiments by status."""
        self._counts = SharedCounts(gauges=[(STREAMS,)])
        self._has_failed = False
        self._registry = CollectorRegistry()
        self._registry.register(RequestCollector(self._counts))
        self._registry.register(ExperimentCollector(counts))
        app.after_request(self._count_stream)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

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
        amounts = {bisect_left(BUCKETS, seconds): 1, SUM: seconds}
        self._add((REQUESTS, method, route, str(status)), SUM + 1, amounts)
        if rule and rule.endpoint == SUBMISSION:
            self._add((SUBMISSIONS, OUTCOMES.get(status, "refused")), 1, {0: 1})

    def log_end_lost(self) -> None:
        """Count a log whose end was lost."""
        self._add((LOST_ENDS,), 1, {0: 1})

    def _count_stream(self, response: Response) -> Response:
        if response.is_streamed:
            self._add((STREAMS,), 1, {0: 1})
            response.call_on_close(lambda: self._add((STREAMS,), 1, {0: -1}))
        return response

    def _add(self, key: Key, width: int, amounts: Mapping[int, float]) -> None:
        try:
            self._counts.add(key, width, amounts)
        except Exception:  # counting must not break an answer
            if not self._has_failed:
                log.exception("Requests are not counted completely; /metrics shows too few")
            self._has_failed = True


class RequestCollector(Collector):
    """The requests, submissions and open streams of all workers."""

    def __init__(self, counts: SharedCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield the families that Prometheus reads."""
        requests = HistogramMetricFamily(
            "hello_flask_http_request_seconds",
            "Time from a request to the start of its response, by route.",
            labels=("method", "route", "status"),
        )
        submissions = CounterMetricFamily(
            "hello_flask_submissions", "Submissions by outcome.", labels=("outcome",)
        )
        lost_ends = CounterMetricFamily(LOST_ENDS, LOST_ENDS_HELP)
        streams = 0.0
        for (kind, *labels), numbers in sorted(self._counts.totals().items()):
            if kind == REQUESTS:
                buckets = list(zip(BUCKET_NAMES, accumulate(numbers[:SUM]), strict=True))
                requests.add_metric(labels, buckets, numbers[SUM])
            elif kind == SUBMISSIONS:
                submissions.add_metric(labels, numbers[0])
            elif kind == LOST_ENDS:
                lost_ends.add_metric([], numbers[0])
            elif kind == STREAMS:
                streams = numbers[0]
        yield from (requests, submissions, lost_ends)
        yield GaugeMetricFamily(
            "hello_flask_streams_open", "Responses that are being sent piece by piece.", streams
        )


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
