import socket
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress

import pytest

from backend.experiments.reconciling.health import (
    MAX_CLIENTS,
    PATIENCE_SECONDS,
    HealthServer,
    Passes,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def serve():
    """Serve in a thread, as `serve_health` does."""
    started = []

    def start(passes):
        server = HealthServer("127.0.0.1:0", passes)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        return server

    yield start
    for server, thread in started:
        server.stop()
        thread.join()


def test_readyz_states_the_reason(serve):
    clock = Clock()
    passes = Passes(clock)
    url = f"http://127.0.0.1:{serve(passes).port}"
    with urllib.request.urlopen(f"{url}/readyz") as answer:
        assert answer.status == 200
    passes.failed(0.1, "데이터베이스")
    clock.now = PATIENCE_SECONDS

    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{url}/readyz")
    with refusal.value as answer:
        assert answer.status == 503
        assert "데이터베이스" in answer.read().decode()
    with urllib.request.urlopen(f"{url}/healthz") as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert b"hello_flask_reconcile_failures_total 1.0" in answer.read()


@pytest.mark.parametrize("sent", [b"", b"GET /hea"], ids=["silent", "half a head"])
def test_idle_clients_block_nobody(serve, sent):
    """There are more of them than the process may have files open."""
    server = serve(Passes())
    with ExitStack() as opened:
        idle = [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))
            for _ in range(3 * MAX_CLIENTS)
        ]
        for connection in idle[::2]:
            with suppress(OSError):
                connection.sendall(sent)
        with urllib.request.urlopen(
            f"http://127.0.0.1:{server.port}/healthz", timeout=60
        ) as answer:
            assert answer.status == 200
        with suppress(ConnectionResetError):  # the oldest was disconnected in favour of others
            assert idle[0].recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"POST /healthz HTTP/1.1\r\n\r\n", b"501"),
    ],
)
def test_requests(serve, sent, status):
    server = serve(Passes())
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as answer:
            assert status in answer.readline()


@pytest.mark.parametrize("sent", [b"\0\r\n\r\n", b"GET /" + b"a" * 20_000, b"\r\n\r\n"])
def test_rubbish_ends_its_own_connection_only(serve, sent):
    server = serve(Passes())
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(sent)
        with suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=60) as answer:
        assert answer.status == 200
