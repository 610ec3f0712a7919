"""What is sent to break the real server: smuggled requests, floods, clients that stall."""

import socket
from contextlib import ExitStack, suppress

import pytest

from tests.integration.waiting import DEADLINE_SECONDS, eventually

THREADS = 2 * 8  # gunicorn.conf.py: workers, and threads of each
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
}


@pytest.fixture
def server(backend):
    return backend("web").ready()


def connect(server):
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS)


def everything(connection):
    """Receive until the server hangs up."""
    received = b""
    with suppress(ConnectionResetError):  # it hung up with something of ours unread
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_request_of_doubtful_length_is_the_last_of_its_connection(server, headers):
    with connect(server) as connection:
        connection.sendall(
            b"POST /test HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + SECOND
        )
        answer = everything(connection)

    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 501"), answer
    assert b"smuggled" not in answer


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: 1\r\n" % number for number in range(500)),
        b"X: " + b"x" * 100_000 + b"\r\n",
        b"Cookie: " + b"a=b; " * 20_000 + b"\r\n",
    ],
    ids=["many", "long", "cookies"],
)
def test_a_flood_of_headers_is_refused(server, flood):
    with connect(server) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):  # it does not wait for the end
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + flood + b"\r\n")
        answer = everything(connection)

    assert not answer.startswith(b"HTTP/1.1 2"), answer[:200]
    assert server.answers("/")


def test_a_long_address_is_refused(server):
    with connect(server) as connection:
        connection.sendall(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 4")


STALLED = {
    "within the headers": b"POST /test HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "within the body": b"POST /test HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nepoch=",
}


@pytest.mark.parametrize("beginning", STALLED.values(), ids=STALLED)
def test_clients_that_stall_do_not_keep_the_server_from_others(server, beginning):
    with ExitStack() as opened:
        stalled = [opened.enter_context(connect(server)) for _ in range(2 * THREADS)]
        for connection in stalled:
            connection.sendall(beginning)

        assert eventually(lambda: server.ask("/").content) == b"Hello Flask!"
        for connection in stalled:  # each is told to go, or hung up on
            assert not everything(connection).startswith(b"HTTP/1.1 2")


def test_a_large_body_that_nobody_wants_is_not_read(server):
    with connect(server) as connection:
        connection.sendall(
            b"POST /test HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
