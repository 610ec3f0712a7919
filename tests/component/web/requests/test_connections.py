"""When a thread may begin with a request: as soon as it does not have to wait for the client."""

import socket

import pytest
from gunicorn.config import Config

from backend.web.worker.connection import BODY_BYTES, HEAD_BYTES, Connection

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /test HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nepoch"
LOWER = b"POST /test HTTP/1.1\r\nhost:localhost\r\ncontent-length:5\r\n\r\nepoch"
LONG = b"PUT /inputs/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES + 1)
CHUNKED = b"PUT /inputs/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nexpect: 100-continue\r\n\r\n"


@pytest.fixture
def conn():
    server, client = socket.socketpair()
    with server, client:
        yield Connection(Config(), server, ("127.0.0.1", 1), ("127.0.0.1", 2))


@pytest.mark.parametrize("sent", [GET, POST, LOWER, b"\r\n" + GET, b"\r\n" + POST])
def test_whole_request(conn, sent):
    for number in range(len(sent)):
        assert not conn.is_ready(), sent[:number]
        conn.received += sent[number : number + 1]

    assert conn.is_ready()
    assert not conn.is_long


@pytest.mark.parametrize("sent", [LONG, CHUNKED, EXPECT], ids=["long", "chunked", "expect"])
def test_long_request_is_ready_with_its_head(conn, sent):
    conn.received += sent[:-1]
    assert not conn.is_ready()
    conn.received += sent[-1:]

    assert conn.is_ready()
    assert conn.is_long


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"\r\n", b"GET / HTTP/1.1\r\nX: \r\r\n"])
def test_beginning(conn, sent):
    conn.received += sent

    assert not conn.is_ready()


def test_field_that_only_looks_like_a_length(conn):
    conn.received += GET[:-2] + b"X-Content-Length: 5\r\nX: Content-Length: 5\r\n\r\n"

    assert conn.is_ready()


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\n", GET[:-4] + b"\nHost: b", b"X" * HEAD_BYTES], ids=len
)
def test_request_that_is_refused(conn, sent):
    """It needs no complete head."""
    conn.received += sent

    assert conn.is_ready()


def test_client_that_will_send_nothing_more(conn):
    conn.received += POST[:-1]
    assert not conn.is_ready()
    conn.is_ended = True

    assert conn.is_ready()


def test_next_request_was_sent_together(conn):
    conn.received += GET + POST + GET[:5]
    assert conn.is_ready()
    conn.begin()
    assert next(conn.parser).path == "/"

    conn.next_request()

    assert conn.received == POST + GET[:5]
    assert conn.is_ready()
    conn.begin()
    request = next(conn.parser)
    assert request.body.read() == b"epoch"
    conn.next_request()
    assert conn.received == GET[:5]
    assert not conn.is_ready()
