"""Streams of the real server: threads, connections that end, and workers that stop."""

import http.client
import json
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.integration.launcher_harness import AN_ATTEMPT
from tests.integration.server.test_processes import submit
from tests.integration.waiting import DEADLINE_SECONDS, eventually

EVENTS = {"Accept": "text/event-stream"}
WORKERS = 2  # backend/gunicorn_config.py


@pytest.fixture
def serve(backend):
    def start(**variables):
        return backend("serve", **variables).ready()

    return start


class Stream:
    """A streamed response."""

    def __init__(self, server, path, **headers):
        self._connection = http.client.HTTPConnection(server.address, timeout=DEADLINE_SECONDS)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", path, headers=headers)
        self._answer = self._connection.getresponse()
        self.status, self.headers = self._answer.status, self._answer.headers

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

    def line(self):
        return self._answer.readline().decode().rstrip("\n")

    def event(self):
        """Return the next event as a dict of its fields."""
        while True:
            fields = {}
            while line := self.line():
                name, _, value = line.partition(": ")
                fields[name] = value
            if fields.keys() & {"data"}:
                return fields

    def rest(self):
        return self._answer.read().decode()

    def close(self):
        self._answer.close()
        self._connection.close()


def test_follow_local_log_to_its_end(serve, harness):
    server = serve()
    assert server.ask("/test", {"experiment_id": "first", "learning_rate": "1", "epoch": "2"})
    path = "/experiments/first/logs"
    with Stream(server, path, **EVENTS) as events, Stream(server, f"{path}?follow=true") as text:
        assert events.headers["Content-Type"] == "text/event-stream"
        attempt = submitted(harness)
        harness.start(attempt)
        harness.say(attempt, "에포크 1\n")
        assert events.event() == {"id": "1", "data": "에포크 1"}
        assert text.line() == "에포크 1"
        harness.say(attempt, "epoch 2\n")
        harness.end(attempt, 0, "last")
        assert events.event() == {"id": "2", "data": "epoch 2"}
        assert events.event() == {"id": "3", "data": "last"}
        assert events.event() == {"event": "end", "data": '{"attempt": 1}'}
        assert events.rest() == ""
        assert text.rest() == "epoch 2\nlast\n"
    with Stream(server, path, Last_Event_ID="2", **EVENTS) as events:
        assert events.event() == {"id": "3", "data": "last"}


def test_events_live_and_replayed(serve, harness):
    server = serve()
    with Stream(server, "/events") as stream:
        attempt = submit(server, harness)
        harness.end(attempt, 0)
        events = [stream.event() for _ in range(4)]
    steps = [json.loads(event["data"])["to_status"] for event in events]
    assert steps == ["submitting", "queued", "running", "succeeded"]

    with Stream(server, "/events", Last_Event_ID=events[1]["id"]) as again:
        assert [again.event() for _ in range(2)] == events[2:]


def test_streams_leave_threads_free(serve):
    server = serve(MAX_STREAMS="2")
    with ExitStack() as stack:
        streams = []

        def refused():
            stream = stack.enter_context(Stream(server, "/events"))
            streams.append(stream)
            return stream.status == 429 and stream

        # Any worker may accept a connection.
        refusal = eventually(refused)
        assert refusal.headers["Content-Type"] == "application/problem+json"
        assert int(refusal.headers["Retry-After"]) > 0
        assert sum(stream.status == 200 for stream in streams) <= 2 * WORKERS
        for _ in range(20):
            assert server.ask("/experiments").status == 200
        for stream in streams:
            stream.close()  # the server notices without writing

        def accepted():
            with Stream(server, "/events") as stream:
                return stream.status == 200

        for _ in range(2 * WORKERS):
            eventually(accepted)


@pytest.mark.parametrize("path", ["/events", "/experiments/first/logs?follow=true"])
def test_streams_end_with_the_server(serve, harness, path):
    server = serve()
    submit(server, harness)
    with Stream(server, path) as stream:
        server.terminate()
        if path == "/events":
            stream.rest()
        else:  # the client can see that it is incomplete
            with pytest.raises(http.client.IncompleteRead):
                stream.rest()

        assert server.exit_code() == 0
    assert "Traceback" not in server.stderr


def submitted(harness):
    """Return the attempt that was submitted over HTTP."""
    return replace(AN_ATTEMPT, experiment_id="first")
