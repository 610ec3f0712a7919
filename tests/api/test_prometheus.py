"""The numbers for Prometheus."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.store.engine import StoreUnavailable

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}


def samples(client):
    """Give the value of every sample by its name and labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain; version=")
    return {
        (one.name, *sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(response.text)
        for one in family.samples
    }


def requests(client):
    """Give how many requests there were by method, route and status."""
    return {
        tuple(value for _, value in labels): int(value)
        for (name, *labels), value in samples(client).items()
        if name == "hello_flask_http_request_seconds_count"
    }


def test_experiments_by_status(client):
    client.post("/test", data=FORM)
    there = samples(client)

    assert there["hello_flask_runs", ("status", "queued")] == 1
    assert there["hello_flask_runs", ("status", "failed")] == 0


def test_experiments_are_not_counted_at_every_call(client, monkeypatch):
    samples(client)
    client.post("/test", data=FORM)
    assert samples(client)["hello_flask_runs", ("status", "queued")] == 0

    monkeypatch.setattr("backend.web.telemetry.COUNT_SECONDS", 0)
    assert samples(client)["hello_flask_runs", ("status", "queued")] == 1


def test_a_database_that_is_away(client, app, monkeypatch):
    def away():
        raise StoreUnavailable("away")

    monkeypatch.setattr(app.extensions["services"].store, "counts", away)

    assert not any(name.startswith("hello_flask_runs") for name, *_ in samples(client))


def test_submissions_by_outcome(client):
    for learning_rate in ("0.001", "0.001", "0.01", "x"):
        client.post("/experiments", data=FORM | {"learning_rate": learning_rate})
    there = samples(client)

    for outcome in ("created", "existing", "conflict", "invalid"):
        assert there["hello_flask_submissions_total", ("outcome", outcome)] == 1


def test_requests_by_the_templates_of_their_routes(client):
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


def test_names_are_ours(client):
    assert all(name.startswith("hello_flask_") for name, *_ in samples(client))
