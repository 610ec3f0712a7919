"""Results and inputs over gunicorn: ranges, broken uploads, archives of growing folders."""

import http.client
import io
import json
import re
import socket
import threading
import zipfile
from pathlib import Path

import pytest

from tests.integration.waiting import eventually

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}
LARGE = 4_000_000


@pytest.fixture
def server(backend):
    server = backend("web").ready()
    assert server.ask("/test", FORM).status in (201, 202)
    return server


@pytest.fixture
def folder(server):
    return Path(server.environ["OUTPUT_DIR"]) / "first"


@pytest.fixture
def inputs(server):
    return Path(server.environ["INPUT_DIR"])


def ask(server, method, path, body=None, **headers):
    """Send a request on a connection of its own; return the answer and its content."""
    connection = http.client.HTTPConnection(server.address, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_ranges_and_paths(server, folder):
    (folder / "large").write_bytes(bytes(range(256)) * (LARGE // 256))
    (folder.parent / "secret").write_text("a secret")
    path = "/experiments/first/files/large"
    whole, content = ask(server, "GET", path)
    part, piece = ask(server, "GET", path, Range="bytes=1000000-2999999")

    assert whole.headers["Accept-Ranges"] == "bytes"
    assert (part.status, piece) == (206, content[1_000_000:3_000_000])
    assert part.headers["Content-Range"] == f"bytes 1000000-2999999/{len(content)}"
    assert ask(server, "GET", path, Range=f"bytes={LARGE}-")[0].status == 416
    for way_out in ("../../secret", "..%2f..%2fsecret", "%2e%2e/secret", "..\\..\\secret"):
        answer, content = ask(server, "GET", f"/experiments/first/files/{way_out}")
        assert answer.status == 404
        assert b"a secret" not in content


def test_file_shrinks_while_sent(server, folder):
    """The client can see that the download is incomplete."""
    (folder / "large").write_bytes(bytes(50_000_000))
    connection = http.client.HTTPConnection(server.address, timeout=30)
    connection.request("GET", "/experiments/first/files/large")
    answer = connection.getresponse()
    answer.read(1000)
    with (folder / "large").open("r+b") as file:
        file.truncate(1000)

    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()


def test_broken_upload_leaves_nothing(server, inputs):
    host, _, port = server.address.rpartition(":")
    head = f"PUT /inputs/a.csv HTTP/1.1\r\nHost: {server.address}\r\n"
    lengths = (f"Content-Length: {LARGE}\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nf4240\r\n")
    for length in lengths:
        with socket.create_connection((host, int(port))) as client:
            client.sendall((head + length).encode() + bytes(500_000))
            eventually(lambda: list(inputs.iterdir()))  # the server has begun to write it
        eventually(lambda: not list(inputs.iterdir()))

    answer, _ = ask(server, "PUT", "/inputs/a.csv?validate=false", bytes(LARGE))
    assert answer.status == 201
    assert [path.name for path in inputs.iterdir()] == ["a.csv"]


def test_chunked_upload(server, inputs):
    answer, _ = ask(server, "PUT", "/inputs/a.csv", iter([b"1,2\n"] * 1000))

    assert answer.status == 201
    assert (inputs / "a.csv").read_bytes() == b"1,2\n" * 1000


def test_archive_while_training(server, folder):
    line, stop = b'{"epoch": 1, "loss": 0.5}\n', threading.Event()
    (folder / "large").write_bytes(bytes(LARGE))

    def train():
        with (folder / "log.txt").open("ab") as out:
            while not stop.is_set():
                out.write(line * 1000)
                out.flush()
                (folder / "checkpoint").write_bytes(b"x" * 100_000)
                (folder / "checkpoint").unlink()

    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        contents = [ask(server, "GET", "/experiments/first/files.zip")[1] for _ in range(5)]
    finally:
        stop.set()
        trainer.join()

    for content in contents:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            assert {"large", "log.txt", "run.json"} <= set(archive.namelist())


def test_curve_while_training(server, folder):
    with (folder / "metrics.jsonl").open("a", buffering=1) as out:
        for epoch in range(1, 51):
            out.write(json.dumps({"epoch": epoch, "loss": 1 / epoch})[:-3])
            out.flush()
            curve = server.ask("/experiments/first/metrics").json
            assert curve["epoch"] == list(range(1, epoch))
            out.seek(0)
            out.truncate()
            for done in range(1, epoch + 1):
                out.write(json.dumps({"epoch": done, "loss": 1 / done}) + "\n")
    assert server.ask("/experiments/first/metrics").json["points"] == 50


def test_metrics_sum_all_workers(server):
    for _ in range(40):
        ask(server, "GET", "/")
    pattern = r'http_request_seconds_count\{method="GET",route="/",status="200"\} (\d+)'

    def counted():
        return re.findall(pattern, server.ask("/metrics").content.decode())

    eventually(lambda: counted() == ["40"])  # a request is counted after its answer was sent
