"""A client that sends or takes too slowly is given up, without any test that waits for it."""

import itertools
import socket

import pytest

from backend.web import slow_clients
from backend.web.slow_clients import TimeLimitedSocket


@pytest.fixture
def ends(monkeypatch):
    """Give our end of a connection, and the client's, which nobody reads or writes."""
    monkeypatch.setattr(slow_clients, "GRACE_SECONDS", 0.01)
    monkeypatch.setattr(slow_clients, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(slow_clients, "LOWEST_RATE", 1e12)
    ours, clients = socket.socketpair()
    with ours, clients:
        yield TimeLimitedSocket(ours), clients


def test_what_comes_in_time_goes_through(ends):
    ours, client = ends
    client.sendall(b"question")
    assert ours.recv(100) == b"question"
    ours.sendall(b"answer")
    assert client.recv(100) == b"answer"
    assert ours.gettimeout() is None  # gunicorn's own waiting is as it was


def test_to_look_at_what_has_come_takes_nothing_of_it(ends):
    ours, client = ends
    client.sendall(b"question")
    assert ours.recv(1, socket.MSG_PEEK) == b"q"
    assert ours.recv(100) == b"question"


def test_a_client_that_sends_nothing(ends):
    ours, _ = ends

    with pytest.raises(ConnectionResetError, match="too slowly"):
        ours.recv(100)


def test_a_client_that_takes_nothing(ends):
    ours, _ = ends

    with pytest.raises(ConnectionResetError, match="reads too slowly"):
        ours.sendall(bytes(2**24))


class Trickle:
    """A socket on which one byte comes each second; it remembers how long it was waited for."""

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


def test_bytes_that_come_now_and_then_have_no_more_time_than_all_at_once(trickle):
    patient = TimeLimitedSocket(trickle)
    for _ in range(20):
        patient.recv(100)

    assert trickle.waits[0] == slow_clients.GRACE_SECONDS
    assert trickle.waits[5] == pytest.approx(slow_clients.GRACE_SECONDS - 5, abs=0.01)
    assert max(trickle.waits[11:]) < 0.01


def test_the_next_request_of_a_connection_has_its_own_time(trickle):
    patient = TimeLimitedSocket(trickle)
    for _ in range(20):
        patient.begin_request()
        patient.recv(100)

    assert set(trickle.waits) == {slow_clients.GRACE_SECONDS}
