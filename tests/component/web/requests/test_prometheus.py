"""The metrics for Prometheus."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.domain.exceptions import StoreUnavailable
from backend.web.shared_counts import CountsFull, SharedCounts
from backend.web.telemetry import COUNT_SECONDS
from tests.component.support import FORM


def samples(client):
    """Return the value of every sample by name and labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def requests(client):
    """Return the number of requests by method, route and status."""
    return {
        tuple(value for _, value in labels): int(value)
        for (name, *labels), value in samples(client).items()
        if name == "hello_flask_http_request_seconds_count"
    }


def test_experiments_by_status(client):
    client.post("/test", data=FORM)
    metrics = samples(client)

    assert metrics["hello_flask_runs", ("status", "queued")] == 1
    assert metrics["hello_flask_runs", ("status", "failed")] == 0


def test_counts_are_cached(client, monkeypatch):
    samples(client)
    client.post("/test", data=FORM)
    assert samples(client)["hello_flask_runs", ("status", "queued")] == 0

    expiry = time.monotonic() + COUNT_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: expiry)
    assert samples(client)["hello_flask_runs", ("status", "queued")] == 1


def test_database_unavailable(client, app, monkeypatch):
    def away():
        raise StoreUnavailable("away")

    monkeypatch.setattr(app.extensions["services"].store, "counts", away)

    assert not any(name.startswith("hello_flask_runs") for name, *_ in samples(client))


def test_submissions_by_outcome(client):
    for learning_rate in ("0.001", "0.001", "0.01", "x"):
        client.post("/experiments", data=FORM | {"learning_rate": learning_rate})
    metrics = samples(client)

    for outcome in ("created", "existing", "conflict", "invalid"):
        assert metrics["hello_flask_submissions_total", ("outcome", outcome)] == 1


def test_requests_by_route_template(client):
    for name in ("a", "b", "c"):
        client.get(f"/experiments/{name}")
        client.get(f"/nothing/{name}")
    client.open("/", method="BREW")

    assert requests(client) == {
        ("GET", "/experiments/<experiment_id>", "404"): 3,
        ("GET", "none", "404"): 3,
        ("other", "none", "405"): 1,
    }


@pytest.mark.parametrize("path", ["/events", "/experiments/first/logs?follow=true"])
def test_open_streams(client, path):
    client.post("/test", data=FORM)
    before = samples(client)["hello_flask_streams_open",]
    response = client.get(path, buffered=False)
    during = samples(client)["hello_flask_streams_open",]
    response.close()

    assert (before, during) == (0, 1)
    assert samples(client)["hello_flask_streams_open",] == 0


def test_names_have_our_prefix(client):
    assert all(name.startswith("hello_flask_") for name, *_ in samples(client))


def test_answers_without_counts(client, monkeypatch, caplog):
    def full(*_):
        raise CountsFull("no room")

    monkeypatch.setattr(SharedCounts, "add", full)

    assert [client.get("/").status_code for _ in range(3)] == [200] * 3
    assert client.get("/metrics").status_code == 200
    assert len(caplog.records) == 1
