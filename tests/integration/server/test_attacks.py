"""Attacks on the real server: smuggled requests, floods, clients that stall."""

import json
import socket
from contextlib import ExitStack, suppress

import pytest

from backend.store.engine import POOL_SIZE
from backend.web.worker.limits import LONG
from tests.integration.backend_process import Installation
from tests.integration.waiting import DEADLINE_SECONDS, eventually

MAX_STREAMS = 1
THREADS = 2 * (
    POOL_SIZE + MAX_STREAMS + LONG
)  # backend/gunicorn_config.py: workers, and threads of each
# The same limits, only shorter, so that no test waits for a minute.
HURRIED = """from backend.web import slow_clients
from backend.web.worker.poller import PollingWorker as Worker
slow_clients.GRACE_SECONDS = slow_clients.PAUSE_SECONDS = 1.0
slow_clients.LOWEST_RATE = 1e6
"""
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(SECOND)
CHUNKED = b"Transfer-Encoding: chunked\r\n"

AMBIGUOUS = {
    "length and chunked": LENGTH + CHUNKED,
    "chunked and length": CHUNKED + LENGTH,
    "two lengths": LENGTH + b"Content-Length: 0\r\n",
    "a list of lengths": b"Content-Length: 0, 44\r\n",
    "a signed length": b"Content-Length: +44\r\n",
    "a hexadecimal length": b"Content-Length: 0x2c\r\n",
    "a length below zero": b"Content-Length: -1\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked, then not": b"Transfer-Encoding: chunked, identity\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n",
    "a folded line": b"Transfer-Encoding:\r\n chunked\r\n",
    "an underscore": b"Content_Length: 0\r\nTransfer_Encoding: chunked\r\nX\0: 1\r\n",
    "a bare CR": b"X: 1\rTransfer-Encoding: chunked\r\n",
    "a bare LF": b"X: 1\nTransfer-Encoding: chunked\r\n",
    "the same length twice": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
    "a tab before the coding": b"Transfer-Encoding:\tchunked\r\n" + LENGTH,
    "NUL": b"X: a\0b\r\n",
    "another Host": b"Host: evil.example\r\n",
    "a Host on a folded line": b"X:\r\n Host: evil.example\r\n",
}
CHUNKS = {
    "a size in another notation": b"0x5\r\n12345\r\n0\r\n\r\n",
    "a size below zero": b"-1\r\n12345\r\n0\r\n\r\n",
    "a size with an underscore": b"0_5\r\n12345\r\n0\r\n\r\n",
    "a size without CR": b"0\n\n",
    "an extension with a bare LF": b"5;\nxx\r\n12345\r\n0\r\n\r\n",
    "a chunk that is longer than its size": b"5\r\n1234567\r\n0\r\n\r\n",
    "a trailer that would be a header": b"0\r\nHost: evil.example\r\n\r\n",
}
NO_REQUESTS = {
    "HTTP/0.9": b"GET /model\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no Host": b"GET /model HTTP/1.1\r\nConnection: close\r\n\r\n",
    "line ends without CR": b"GET /model HTTP/1.1\nHost: localhost\n\n",
    "chunked before there was chunked": b"POST /test HTTP/1.0\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a method in lower case": b"get /model HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "NUL in the address": b"GET /mod\0el HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes in the address": b"GET /\xc0\xae HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a proxy's greeting": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /model HTTP/1.1\r\n"
    b"Host: localhost\r\n\r\n",
    "a tunnel": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    environ = {"MAX_STREAMS": str(MAX_STREAMS)}
    for name in ("data", "input", "output"):
        (folder / name).mkdir()
        environ[f"{name.upper()}_DIR"] = str(folder / name)
    (folder / "input" / "large.csv").write_bytes(bytes(30_000_000))
    installation = Installation(folder / "installation", environ)
    (folder / "installation" / "hurried.py").write_text(HURRIED)
    yield installation.start("web", GUNICORN_CMD_ARGS="--worker-class hurried.Worker").ready()
    installation.close()


def greets(server):
    """Return whether the server answers a client that is neither slow nor stalled."""
    with suppress(OSError):  # on a busy machine, this client may be the slow one
        return server.ask("/").content == b"Hello Flask!"
    return False


def connect(server):
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS)


def receive_all(connection):
    """Receive until the server closes the connection."""
    received = b""
    with suppress(ConnectionResetError):  # the server closed without having read everything
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_request_length(server, headers):
    """The server closes the connection, so that no second request can be smuggled."""
    with connect(server) as connection:
        connection.sendall(
            b"POST /test HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + SECOND
        )
        answer = receive_all(connection)

    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 501"), answer
    assert b"smuggled" not in answer


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_ambiguous_body_length(server, chunks):
    """The server closes the connection, so that no second request can be smuggled."""
    with connect(server) as connection:
        connection.sendall(
            b"POST /test HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED + b"\r\n" + chunks + SECOND
        )
        answer = receive_all(connection)

    assert answer.startswith(b"HTTP/1.1 4")
    assert b"HTTP/1.1 404" not in answer  # the second request was not handled


@pytest.mark.parametrize("text", NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_not_a_request(server, text):
    with connect(server) as connection:
        connection.sendall(text + SECOND)
        connection.shutdown(socket.SHUT_WR)
        answer = receive_all(connection)

    assert answer.startswith(b"HTTP/1.1 4") or not answer, answer
    assert b"HTTP/1.1 2" not in answer


MALFORMED = {
    "a request line": (b"GET\r\n\r\n", 400, "request line"),
    "a method": (b"g@t / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "method"),
    "a version": (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, "HTTP/1.1"),
    "a field": (b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", 400, "field"),
    "a name": (b"GET / HTTP/1.1\r\nHost: localhost\r\n<x>: 1\r\n\r\n", 400, "field"),
    "a long address": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414, "address"),
    "many fields": (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 500 + b"\r\n", 431, "100"),
    "a long head": (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431, "8 KiB"),
    "a coding": (b"GET / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n", 501, "coding"),
    "an expectation": (b"GET / HTTP/1.1\r\nExpect: cake\r\n\r\n", 417, "100-continue"),
    "a length": (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "field"),
}


@pytest.mark.parametrize(("head", "status", "word"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_head_gets_a_problem(server, head, status, word):
    """gunicorn would answer with a page, which quotes what was sent."""
    with connect(server) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(head)
        answer, _, body = receive_all(connection).partition(b"\r\n\r\n")

    problem = json.loads(body)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in answer
    assert b"\r\nConnection: close" in answer
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert word in problem["detail"]
    assert problem["detail"].endswith(".")


@pytest.mark.parametrize(
    "field",
    [b"Accept-Language: ko-KR,ko;q=0.9,en;q=0.8", b"Cookie: a=b; hello_flask_language=ko; c=d"],
    ids=["asked for", "chosen"],
)
def test_malformed_head_is_answered_in_its_language(server, field):
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + field + b"\r\nExpect: cake\r\n\r\n")
        _, _, body = receive_all(connection).partition(b"\r\n\r\n")

    problem = json.loads(body)
    assert problem["status"] == 417
    assert problem["detail"].startswith("이 Expect는 지원하지 않습니다.")


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: 1\r\n" % number for number in range(500)),
        b"".join(b"X-%d: 1\r\n" % number for number in range(10_000)),
        b"X: " + b"x" * 100_000 + b"\r\n",
        b"Cookie: " + b"a=b; " * 20_000 + b"\r\n",
    ],
    ids=["many", "very many", "long", "cookies"],
)
def test_header_flood(server, flood):
    with connect(server) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):  # the server does not read it all
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + flood + b"\r\n")
        answer = receive_all(connection)

    assert not answer.startswith(b"HTTP/1.1 2"), answer[:200]
    eventually(lambda: greets(server))


def test_long_path(server):
    with connect(server) as connection:
        connection.sendall(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert receive_all(connection).startswith(b"HTTP/1.1 4")


STALLED = {
    "within the headers": b"POST /test HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "within the body": b"POST /test HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nepoch=",
}


@pytest.mark.parametrize("beginning", STALLED.values(), ids=STALLED)
def test_stalled_clients_block_nobody(server, beginning):
    with ExitStack() as opened:
        stalled = [opened.enter_context(connect(server)) for _ in range(3 * THREADS)]
        for connection in stalled:
            connection.sendall(beginning)

        eventually(lambda: greets(server))
        for connection in stalled:  # each gets an error, or its connection is closed
            assert not receive_all(connection).startswith(b"HTTP/1.1 2")


def test_large_body_is_not_read(server):
    with connect(server) as connection:
        connection.sendall(
            b"POST /test HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"-1\r\n", b"3;\0\r\nabc"]
)
@pytest.mark.parametrize(
    "request_line", [b"PUT /inputs/chunks.csv?overwrite=true", b"POST /test"], ids=["put", "post"]
)
def test_broken_chunk_is_the_clients_mistake(server, request_line, chunks):
    with connect(server) as connection:
        connection.sendall(
            request_line
            + b" HTTP/1.1\r\nHost: localhost\r\n"
            + (b"Content-Type: application/json\r\n" if b"POST" in request_line else b"")
            + CHUNKED
            + b"\r\n2\r\n1\n\r\n"
            + chunks
        )
        connection.shutdown(socket.SHUT_WR)
        answer = receive_all(connection)

    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"problem+json" in answer
    assert server.ask("/inputs/chunks.csv").status == 404


def test_endless_body_is_cut_off(server):
    head = b"POST /test HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    with connect(server) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(head)
            for _ in range(1000):
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_slow_readers_block_nobody(server):
    with ExitStack() as opened:
        for _ in range(3 * THREADS):
            connection = opened.enter_context(connect(server))
            connection.sendall(b"GET /inputs/large.csv HTTP/1.1\r\nHost: localhost\r\n\r\n")

        eventually(lambda: greets(server))
