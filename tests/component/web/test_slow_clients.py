"""Clients that send or read too slowly are disconnected; no test waits for real."""

import itertools
import socket

import pytest

from backend.web import slow_clients as slow_clients
from backend.web.slow_clients import TimeLimitedSocket


@pytest.fixture
def connection(monkeypatch):
    """The server's end and the client's end of a connection."""
    monkeypatch.setattr(slow_clients, "GRACE_SECONDS", 0.01)
    monkeypatch.setattr(slow_clients, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(slow_clients, "LOWEST_RATE", 1e12)
    server, clients = socket.socketpair()
    with server, clients:
        yield TimeLimitedSocket(server), clients


def test_prompt_traffic_passes(connection):
    server, client = connection
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"
    assert server.gettimeout() is None  # gunicorn's own timeout is restored


def test_peek_consumes_nothing(connection):
    server, client = connection
    client.sendall(b"question")
    assert server.recv(1, socket.MSG_PEEK) == b"q"
    assert server.recv(100) == b"question"


def test_client_sends_nothing(connection):
    server, _ = connection

    with pytest.raises(ConnectionResetError, match="too slowly"):
        server.recv(100)


def test_client_reads_nothing(connection):
    server, _ = connection

    with pytest.raises(ConnectionResetError, match="reads too slowly"):
        server.sendall(bytes(2**24))


class Trickle:
    """A socket that receives one byte a second and records the timeouts set on it."""

    def __init__(self):
        self.waits = []

    def settimeout(self, seconds):
        if seconds is not None:
            self.waits.append(seconds)

    def recv(self, _size, _flags):
        return b"x"


@pytest.fixture
def trickle(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(slow_clients.time, "monotonic", lambda: next(clock))
    return Trickle()


def test_trickle_gets_no_extra_time(trickle):
    """One byte a second does not extend the deadline of a request."""
    limited = TimeLimitedSocket(trickle)
    for _ in range(20):
        limited.recv(100)

    assert trickle.waits[0] == slow_clients.GRACE_SECONDS
    assert trickle.waits[5] == pytest.approx(slow_clients.GRACE_SECONDS - 5, abs=0.01)
    assert max(trickle.waits[11:]) < 0.01


def test_next_request_has_own_deadline(trickle):
    limited = TimeLimitedSocket(trickle)
    for _ in range(20):
        limited.begin_request()
        limited.recv(100)

    assert set(trickle.waits) == {slow_clients.GRACE_SECONDS}
