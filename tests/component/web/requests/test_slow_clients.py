"""Clients that send or read too slowly are disconnected; no test waits for real."""

import itertools
import socket

import pytest

from backend.web import slow_clients as slow_clients
from backend.web.slow_clients import LOWEST_RATE, PAUSE_SECONDS, Allowance, Receiver, Sender


@pytest.fixture
def sockets():
    """The server's end and the client's end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    with server, client:
        yield server, client


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(slow_clients, "GRACE_SECONDS", 0.01)
    monkeypatch.setattr(slow_clients, "LOWEST_RATE", 1e12)


def test_prompt_traffic_passes(sockets):
    server, client = sockets
    receiver, sender = Receiver(server), Sender(server)
    client.sendall(b"question")
    assert receiver.recv(100) == b"question"
    sender.sendall(b"an")
    sender.sendall(b"swer")
    assert sender.flush()
    assert client.recv(100) == b"answer"
    assert server.gettimeout() == 0  # so that no answer can block


def test_peek_consumes_nothing(sockets):
    server, client = sockets
    client.sendall(b"question")
    receiver = Receiver(server)
    assert receiver.recv(1) == b"q"
    assert Sender(server).recv(1, socket.MSG_PEEK) == b"u"
    assert receiver.recv(100) == b"uestion"


def test_client_sends_nothing(sockets, hurried):
    server, _ = sockets

    with pytest.raises(ConnectionResetError, match="too slowly"):
        Receiver(server).recv(100)


def test_nothing_is_received_beyond_a_whole_request(sockets):
    server, client = sockets
    client.sendall(b"more")
    receiver = Receiver(server)
    receiver.begin_request(is_whole=True)
    assert receiver.recv(100) == b""


def test_client_reads_nothing(sockets):
    """Sending does not wait; what was not sent is sent once the client reads."""
    server, client = sockets
    sender = Sender(server)
    content = bytes(range(256)) * 2**16
    sender.sendall(b"first")
    sender.sendall(content)

    assert not sender.flush()
    assert 0 < sender.held < len(content)
    assert sender.delivered() < len(content)
    received = b""
    while len(received) < len(content) + 5:
        received += client.recv(2**20)
        sender.flush()
    assert received == b"first" + content
    assert sender.held == 0


class Trickle:
    """A socket that receives one byte a second and records the timeouts set on it."""

    def __init__(self):
        self.waits = []

    def settimeout(self, seconds):
        if seconds:
            self.waits.append(seconds)

    def recv(self, _size):
        return b"x"


@pytest.fixture
def trickle(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(slow_clients.time, "monotonic", lambda: next(clock))
    return Trickle()


def test_trickle_gets_no_extra_time(trickle):
    """One byte a second does not extend the deadline of a request."""
    limited = Receiver(trickle)
    for _ in range(20):
        limited.recv(100)

    assert trickle.waits[0] == slow_clients.GRACE_SECONDS
    assert trickle.waits[5] == pytest.approx(slow_clients.GRACE_SECONDS - 5, abs=0.01)
    assert max(trickle.waits[11:]) < 0.01


def test_next_request_has_own_deadline(trickle):
    limited = Receiver(trickle)
    for _ in range(20):
        limited.begin_request()
        limited.recv(100)

    assert set(trickle.waits) == {slow_clients.GRACE_SECONDS}


def test_lowest_rate_is_enough_for_ever():
    allowance = Allowance(PAUSE_SECONDS)
    for _ in range(10_000):
        allowance.spend(10, 10 * LOWEST_RATE)

    assert allowance.seconds == pytest.approx(PAUSE_SECONDS)


@pytest.mark.parametrize("size", [1000, LOWEST_RATE // 8, LOWEST_RATE - 1024])
def test_lower_rate_is_not(size):
    """Nor does it help to have been quick before."""
    allowance = Allowance(PAUSE_SECONDS)
    allowance.spend(1, 10**12)
    for _ in range(1000):
        allowance.spend(1, size)

    assert allowance.seconds <= 0
