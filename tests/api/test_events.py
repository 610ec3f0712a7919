import json

import pytest

from backend.domain.exceptions import StoreUnavailable
from backend.experiments import events as transitions

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(transitions, "POLL_SECONDS", 0)


@pytest.fixture
def during(monkeypatch, app):
    """Give a list of what happens, one after the other, while a stream waits; then it ends."""
    steps = []

    def step(*_arguments):
        if steps:
            steps.pop(0)()
        else:
            app.extensions["streams"].is_stopping = lambda: True

    monkeypatch.setattr(transitions.TransitionFeed, "wait", step)
    return steps


def listen(client, path="/events", last=None):
    client.application.extensions["streams"].is_stopping = lambda: False
    response = client.get(path, headers={"Last-Event-ID": last} if last is not None else {})
    assert response.status_code == 200
    assert response.content_type == "text/event-stream"
    events = [one.split("\n") for one in response.text.split("\n\n") if one.startswith("event:")]
    return [
        (int(number.removeprefix("id: ")), json.loads(data.removeprefix("data: ")))
        for name, number, data in events
        if name == "event: transition"
    ]


def submit(client, experiment_id="first"):
    assert client.post("/test", data=FORM | {"experiment_id": experiment_id}).status_code == 201


def test_it_works(client, during):
    submit(client, "before")
    during.append(lambda: submit(client))

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


def test_they_go_on_after_the_last_one_that_was_seen(client, during):
    submit(client)
    everything = listen(client, last=0)
    assert len(everything) == 2

    assert listen(client, last=everything[0][0]) == everything[1:]
    assert listen(client, last=everything[1][0]) == []


def test_those_of_one_experiment_alone(client, during):
    during += [lambda: submit(client, "other"), lambda: submit(client, "first")]

    events = listen(client, "/events?experiment_id=first")

    assert [data["experiment_id"] for _, data in events] == ["first", "first"]


def test_many_are_given_in_their_order_each_once(client, experiments, during, monkeypatch):
    monkeypatch.setattr(transitions, "PAGE", 3)
    monkeypatch.setattr(transitions, "SHARED_EVENTS", 4)
    during += [lambda number=number: submit(client, f"run-{number}") for number in range(5)]

    ids = [number for number, _ in listen(client)]

    assert len(ids) == len(set(ids)) == 10
    assert ids == sorted(ids)
    assert [number for number, _ in listen(client, last=0)] == ids


def test_a_database_that_goes_away_ends_no_stream(client, store, during, monkeypatch):
    read = store.database.read

    def broken(_work):
        raise StoreUnavailable("it is away")

    during += [
        lambda: monkeypatch.setattr(store.database, "read", broken),
        lambda: None,
        lambda: monkeypatch.setattr(store.database, "read", read),
        lambda: submit(client),
    ]

    assert len(listen(client)) == 2


def test_without_a_database_nobody_can_begin_to_listen(client, store, monkeypatch):
    def broken(_work):
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(store.database, "read", broken)

    assert client.get("/events").status_code == 503


def test_who_comes_back_while_the_database_is_away_is_kept(client, store, during, monkeypatch):
    submit(client)
    read = store.database.read

    def broken(_work):
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(store.database, "read", broken)
    during += [
        lambda: None,
        lambda: monkeypatch.setattr(store.database, "read", read),
        lambda: None,
    ]

    assert len(listen(client, last=0)) == 2


def test_the_end_of_a_run_tells_its_reason(services, client, experiments, during):
    submit(client)
    experiment = experiments.get("first")
    during.append(lambda: services.recorder.record_gone(experiment))

    (*_, (_, last)) = listen(client)

    assert (last["to_status"], last["reason"]) == ("failed", "job_deleted")


def test_a_query_that_is_wrong(client):
    assert client.get("/events?run=first").status_code == 422
    assert client.get("/events", headers={"Last-Event-ID": "x"}).status_code == 400


def test_streams_are_limited_and_freed_again(client, app):
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


def test_a_quiet_stream_says_that_it_is_there(client, during, monkeypatch):
    monkeypatch.setattr("backend.web.streams.KEEPALIVE_SECONDS", 0)
    during += [lambda: None]

    assert ": keepalive\n\n" in client.get("/events").text


def test_a_stream_has_an_end(client, monkeypatch):
    monkeypatch.setattr("backend.web.streams.STREAM_SECONDS", 0)

    assert client.get("/events").text == "retry: 2000\n\n"
