"""`serve` with clients that hold on to it: roles that are killed, and signals to stop."""

import http.client
import os
import signal
import socket
from contextlib import ExitStack, suppress

import pytest

from tests.integration.server.test_processes import submit
from tests.integration.server.test_streams import Stream
from tests.integration.waiting import DEADLINE_SECONDS, eventually
from tests.ports import free_address

STREAMS = ("/events", "/experiments/first/logs?follow=true", "/experiments/first/logs?follow=true")


@pytest.fixture
def health():
    return free_address()


@pytest.fixture
def server(backend, health, tmp_path, environ):
    server = backend("serve", HEALTH_BIND=health).ready()
    (tmp_path / "input" / "large.csv").write_bytes(b"0" * 100_000_000)
    return server


@pytest.fixture
def clients(server, harness):
    """Open streams, followed logs, and downloads whose clients have stopped reading."""
    attempt = submit(server, harness)
    server.reaches("first", "running")
    with ExitStack() as opened:
        streams = [opened.enter_context(Stream(server, path)) for path in STREAMS]
        for _ in range(3):
            opened.enter_context(stalled_download(server.address))
        yield attempt, streams


def stalled_download(address):
    """Return the connection of a client that reads only the first byte of a large file."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS)
    connection.sendall(b"GET /inputs/large.csv HTTP/1.1\r\nHost: localhost\r\n\r\n")
    connection.recv(1)
    return connection


def answers_at(address):
    """Return whether `/healthz` at `address` is answered."""
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection(address, timeout=DEADLINE_SECONDS)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False


def is_running(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_killed_master_with_open_streams(server, harness, clients):
    """Its workers end although they are busy, so that the next ones get the address."""
    attempt, streams = clients
    reconciler, (web, workers) = server.reconciler(), server.web_processes()

    os.kill(web, signal.SIGKILL)

    eventually(lambda: not any(map(is_running, workers)))
    for stream in streams:
        with suppress(http.client.IncompleteRead, ConnectionResetError):
            stream.rest()
    eventually(lambda: server.web_processes()[0] not in (None, web))
    server.ready()
    assert server.reconciler() == reconciler
    harness.end(attempt, 0)
    server.reaches("first", "succeeded")


def test_address_that_stays_in_use(server, health):
    """While a killed role waits for its address, the other one is kept running."""
    reconciler, (web, workers) = server.reconciler(), server.web_processes()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)  # it cannot notice the end of its master
    os.kill(web, signal.SIGKILL)
    eventually(lambda: "web was killed" in server.stderr)

    os.kill(reconciler, signal.SIGKILL)

    eventually(lambda: not is_running(reconciler))
    eventually(lambda: answers_at(health))
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    server.ready()


def test_sigterm_with_open_streams(server, clients):
    """Everything ends within gunicorn's grace period; no follower takes its log for complete."""
    _, (events, *logs) = clients

    server.terminate()

    events.rest()
    for log in logs:
        with pytest.raises(http.client.IncompleteRead):
            log.rest()
    assert server.exit_code() == 0
    eventually(lambda: not server.group())
    assert "Traceback" not in server.stderr
