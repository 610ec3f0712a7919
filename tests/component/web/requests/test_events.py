import json

import pytest

from backend.experiments.events import TransitionFeed
from tests.component.support import FORM


@pytest.fixture(autouse=True)
def no_delay(monkeypatch):
    monkeypatch.setattr("backend.experiments.events.POLL_SECONDS", 0)


@pytest.fixture
def while_waiting(monkeypatch, app):
    """Return a list of functions; one is called each time a stream waits, then the stream ends."""
    steps = []

    def step(*_arguments):
        if steps:
            steps.pop(0)()
        else:
            app.extensions["streams"].is_stopping = lambda: True

    monkeypatch.setattr(TransitionFeed, "wait", step)
    return steps


def listen(client, path="/events", last=None):
    client.application.extensions["streams"].is_stopping = lambda: False
    response = client.get(path, headers={"Last-Event-ID": last} if last is not None else {})
    assert response.status_code == 200
    assert response.content_type == "text/event-stream"
    events = [
        block.split("\n") for block in response.text.split("\n\n") if block.startswith("event:")
    ]
    return [
        (int(number.removeprefix("id: ")), json.loads(data.removeprefix("data: ")))
        for name, number, data in events
        if name == "event: transition"
    ]


def submit(client, experiment_id="first"):
    assert client.post("/test", data=FORM | {"experiment_id": experiment_id}).status_code == 201


def test_new_transitions_are_streamed(client, while_waiting):
    submit(client, "before")
    while_waiting.append(lambda: submit(client))

    events = listen(client)

    assert [(data["from_status"], data["to_status"]) for _, data in events] == [
        (None, "submitting"),
        ("submitting", "queued"),
    ]
    first = events[0][1]
    assert first.keys() == {
        *("experiment_id", "attempt", "from_status", "to_status", "reason", "at", "by"),
    }
    assert (first["experiment_id"], first["attempt"], first["reason"]) == ("first", 1, None)
    assert first["at"].endswith("Z")


def test_resume_after_last_event_id(client, while_waiting):
    submit(client)
    everything = listen(client, last=0)
    assert len(everything) == 2

    assert listen(client, last=everything[0][0]) == everything[1:]
    assert listen(client, last=everything[1][0]) == []


def test_filter_by_experiment(client, while_waiting):
    while_waiting += [lambda: submit(client, "other"), lambda: submit(client, "first")]

    events = listen(client, "/events?experiment_id=first")

    assert [data["experiment_id"] for _, data in events] == ["first", "first"]


def test_many_in_order_each_once(client, experiments, while_waiting, monkeypatch):
    monkeypatch.setattr("backend.experiments.events.PAGE", 3)
    monkeypatch.setattr("backend.experiments.events.SHARED_EVENTS", 4)
    while_waiting += [lambda number=number: submit(client, f"run-{number}") for number in range(5)]

    ids = [number for number, _ in listen(client)]

    assert len(ids) == len(set(ids)) == 10
    assert ids == sorted(ids)
    assert [number for number, _ in listen(client, last=0)] == ids


def test_stream_survives_database_outage(client, outage, while_waiting):
    while_waiting += [outage.begin, lambda: None, outage.end, lambda: submit(client)]

    assert len(listen(client)) == 2


def test_no_stream_without_database(client, outage):
    outage.begin()

    assert client.get("/events").status_code == 503


def test_reconnect_during_outage(client, outage, while_waiting):
    """A client that reconnects while the database is unavailable keeps its stream."""
    submit(client)
    outage.begin()
    while_waiting += [lambda: None, outage.end, lambda: None]

    assert len(listen(client, last=0)) == 2


def test_end_states_its_reason(services, client, experiments, while_waiting):
    submit(client)
    experiment = experiments.get("first")
    while_waiting.append(lambda: services.recorder.record_gone(experiment))

    (*_, (_, last)) = listen(client)

    assert (last["to_status"], last["reason"]) == ("failed", "job_deleted")


def test_invalid_query(client):
    assert client.get("/events?run=first").status_code == 422
    assert client.get("/events", headers={"Last-Event-ID": "x"}).status_code == 400


def test_stream_limit(client, app):
    streams = app.extensions["streams"]
    open_ones = [client.get("/events", buffered=False) for _ in range(streams.limit)]

    refused = client.get("/events")

    assert refused.status_code == 429
    assert refused.content_type == "application/problem+json"
    assert int(refused.headers["Retry-After"]) > 0
    assert "MAX_STREAMS" in refused.json["detail"]
    assert client.get("/experiments").status_code == 200
    open_ones[0].close()
    assert client.get("/events", buffered=False).status_code == 200


def test_keepalive(client, while_waiting, monkeypatch):
    monkeypatch.setattr("backend.web.streams.KEEPALIVE_SECONDS", 0)
    while_waiting += [lambda: None]

    assert ": keepalive\n\n" in client.get("/events").text


def test_stream_duration_is_limited(client, monkeypatch):
    monkeypatch.setattr("backend.web.streams.STREAM_SECONDS", 0)

    assert client.get("/events").text == "retry: 2000\n\n"
