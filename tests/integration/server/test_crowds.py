"""Clients that wait, or have to be waited for, hold no thread: the time limits here are hours."""

import http.client
import random
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from backend.store.engine import POOL_SIZE
from backend.web.worker.limits import LONG
from tests.integration.backend_process import Installation
from tests.integration.waiting import DEADLINE_SECONDS, eventually

MAX_STREAMS = 1
WORKERS = 2
THREADS = WORKERS * (POOL_SIZE + MAX_STREAMS + LONG)  # backend/gunicorn_config.py
CONNECTIONS = 400  # of each worker
PATIENT = """from backend.web import slow_clients
from backend.web.worker import poller
slow_clients.GRACE_SECONDS = slow_clients.PAUSE_SECONDS = poller.QUEUE_SECONDS = 7200.0
Worker = poller.PollingWorker
"""
SLOW = "from backend.web import slow_clients\nslow_clients.PAUSE_SECONDS = 0.5\n"
LINES = b"".join(b"%d\n" % number for number in range(2_000_000))
HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /" + HOST + b"\r\n"
FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "1"}

CROWDS = {
    "silent": b"",
    "half a head": b"POST /test" + HOST + b"X-Slow: ",
    "half a form": b"POST /test" + HOST + b"Content-Length: 1000\r\n\r\nepoch=",
    "an announced form": b"POST /test"
    + HOST
    + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "a chunked form": b"POST /test" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nepo",
    "half an upload": b"PUT /inputs/half.csv" + HOST + b"Content-Length: 1000000\r\n\r\n1\n",
    "a download": b"GET /inputs/large.csv" + HOST + b"\r\n",
    "an archive": b"GET /experiments/first/files.zip" + HOST + b"\r\n",
    "half a second request": GET + b"GET /",
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start the web role with a module that changes its limits."""
    folder = tmp_path_factory.mktemp("crowded")
    environ = {"MAX_STREAMS": str(MAX_STREAMS)}
    for name in ("data", "input", "output"):
        (folder / name).mkdir()
        environ[f"{name.upper()}_DIR"] = str(folder / name)
    (folder / "input" / "large.csv").write_bytes(LINES)
    installation = Installation(folder / "installation", environ)
    (folder / "installation" / "patient.py").write_text(PATIENT)
    (folder / "installation" / "slow.py").write_text(PATIENT + SLOW)

    def start(module="patient", workers=WORKERS):
        arguments = f"--worker-class {module}.Worker --worker-connections {CONNECTIONS}"
        arguments += f" --workers {workers}"
        return installation.start("web", GUNICORN_CMD_ARGS=arguments).ready()

    yield start
    installation.close()


@pytest.fixture(scope="module")
def server(start):
    server = start()
    assert server.ask("/test", FORM).status == 201
    noise = Path(server.environ["OUTPUT_DIR"], "first", "noise.bin")
    noise.write_bytes(random.Random(1).randbytes(20_000_000))
    return server


@pytest.fixture
def opened():
    with ExitStack() as opened:
        yield opened


def connect(server, buffer=None):
    """Connect as a client in whose place the system receives at most `buffer` bytes."""
    host, _, port = server.address.rpartition(":")
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(DEADLINE_SECONDS)
    connection.connect((host, int(port)))
    return connection


def received(connection):
    """Receive until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(2**20), b""))


@pytest.mark.parametrize("sent", CROWDS.values(), ids=CROWDS)
def test_crowd_blocks_nobody(server, opened, sent):
    for _ in range(3 * THREADS):
        opened.enter_context(connect(server, buffer=4096)).sendall(sent)

    for _ in range(2 * WORKERS):
        assert server.ask("/healthz").status == 200
        assert server.ask("/test", FORM).status == 200


def test_more_clients_than_connections(start, opened):
    """Those that were silent for the longest are disconnected in favour of the others.

    One worker has them all: the system promises no even shares to several.
    """
    server = start(workers=1)
    silent = [opened.enter_context(connect(server)) for _ in range(3 * CONNECTIONS // 2)]

    assert server.ask("/healthz").status == 200
    assert silent[0].recv(1) == b""
    silent[-1].setblocking(False)
    with pytest.raises(BlockingIOError):
        silent[-1].recv(1)


def test_client_that_reads_late(server):
    """It gets everything that waited for it."""
    with connect(server) as connection:
        connection.sendall(b"GET /inputs/large.csv" + HOST + b"Connection: close\r\n\r\n")
        start = connection.recv(1000)
        assert server.ask("/healthz").status == 200
        assert (start + received(connection)).partition(b"\r\n\r\n")[2] == LINES


def test_uploads_wait_for_their_turn(server):
    def put(number):
        connection = http.client.HTTPConnection(server.address, timeout=DEADLINE_SECONDS)
        with closing(connection):
            connection.request("PUT", f"/inputs/{number}.csv", LINES[:100_000])
            return connection.getresponse().status

    with ThreadPoolExecutor(4 * LONG) as pool:
        assert set(pool.map(put, range(8 * LONG))) == {201}


def test_requests_sent_together(server):
    """They are answered in their order."""
    form = b"POST /test" + HOST + b"Content-Length: 5\r\nContent-Type: text/plain\r\n\r\nepoch"
    head = b"HEAD /inputs/large.csv" + HOST + b"\r\n"
    missing = b"GET /experiments/none" + HOST + b"\r\n"
    last = b"GET /" + HOST + b"Connection: close\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(GET + missing + form + head + GET + last + GET)
        answers = received(connection)

    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"415", b"200", b"200", b"200"]
    assert answers.count(b"Hello Flask!") == 3


def test_announced_body(server):
    with connect(server) as connection:
        connection.sendall(
            b"PUT /inputs/announced.csv?overwrite=true"
            + HOST
            + b"Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"1,2\n")
        assert received(connection).startswith(b"HTTP/1.1 201")


def test_slow_reader_is_disconnected(start):
    """It read for a while, and quickly; since then it has been slower than the lowest rate."""
    server = start("slow")
    with connect(server) as connection:
        connection.sendall(b"GET /inputs/large.csv" + HOST + b"\r\n")
        for _ in range(20):
            assert connection.recv(1000)
        poll = select.poll()
        poll.register(connection, select.POLLHUP | select.POLLERR)
        assert poll.poll(DEADLINE_SECONDS * 1000)
    eventually(lambda: server.ask("/healthz").status == 200)
