"""Attacks that succeeded on similar products; each group names the vulnerabilities."""

import contextlib
import gzip
import io
import itertools
import json
import logging
import os
import pickle
import socket
from dataclasses import replace
from urllib.parse import quote

import pytest

from backend.app import create_app
from backend.files.outputs import Outputs
from backend.settings import Settings
from tests.component.support import FORM

SECRET = "outside-of-every-folder"
PASSWORD = "nobody-may-see-this"
CLIMBS = [
    "../",
    "..\\",
    "/",
    "....//",
    "./../",
    "a/../../",
    "\0../",
    "．．/",
    "..;/",
    ".. /",
    "../\0/",
]
RAW = ["%c0%ae%c0%ae%c0%af", "%e0%80%ae%e0%80%ae/", "%uff0e%uff0e/", "..%c1%9c", "file:///", "%00/"]


def encodings(text):
    """Return a text as it is, and percent-encoded in several ways."""
    encoded = quote(text, safe="")
    return {
        text,
        encoded,
        quote(encoded, safe=""),
        text.replace(".", "%2e"),
        encoded.replace("%", "%25"),
    }


TRAVERSALS = sorted(
    text
    for climb, depth in itertools.product(CLIMBS, (1, 2, 3))
    for text in encodings(climb * depth + "secret")
) + [f"{climb * 2}secret" for climb in RAW]


@pytest.fixture
def secret(tmp_path, settings):
    """A file outside every folder that a client may reach."""
    (tmp_path / "secret").write_text(SECRET)
    settings.output_dir.mkdir(exist_ok=True)
    (settings.output_dir / "secret").write_text(SECRET)  # beside the experiments' folders
    return tmp_path / "secret"


# Path traversal: MLflow CVE-2023-1177, -2780, -6909, CVE-2024-1483, -1560, -2928 and Aim
# CVE-2021-43775.


@pytest.mark.parametrize(
    "address",
    ["/experiments/{}", "/experiments/{}/logs", "/experiments/first/files/{}", "/inputs/{}"],
)
def test_path_traversal(client, secret, address):
    client.post("/test", data=FORM)
    for traversal in TRAVERSALS:
        response = client.get(address.format(traversal), follow_redirects=True, buffered=True)
        assert SECRET not in response.text, traversal
        assert response.status_code in (400, 404, 422), (traversal, response.status_code)
        put = client.put(f"/inputs/{traversal}", data=b"x")
        assert put.status_code in (308, 400, 404, 405, 422), (traversal, put.status_code)
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("field", ["experiment_id", "dataset"])
def test_traversal_in_form_fields(client, launcher, secret, field, settings):
    for value in ("../secret", "..\\secret", "/secret", "a/../../secret", "./secret", "..", "."):
        response = client.post("/test", data=FORM | {field: value})
        assert response.status_code == 422, value
    assert not launcher.jobs
    assert secret.read_text() == SECRET


def test_encoded_looking_id_is_literal(client, settings):
    for experiment_id in ("a%2Fb", "%2e%2e", "%252e%252e%252fsecret"):
        response = client.post("/test", data=FORM | {"experiment_id": experiment_id})
        assert response.status_code == 201
        assert (settings.output_dir / experiment_id).is_dir()


# Links planted by a trainer: Argo CVE-2025-62156.


@pytest.mark.parametrize("name", ["link", "metrics.jsonl", "summary.json", "logs"])
def test_planted_link_not_followed(client, secret, settings, name):
    client.post("/test", data=FORM)
    folder = settings.output_dir / "first"
    (folder / name).symlink_to(secret.parent if name == "logs" else secret)
    paths = [
        "",
        "/logs",
        "/metrics",
        "/files",
        f"/files/{name}",
        f"/files/{name}/secret",
        "/files.zip",
    ]

    for path in paths:
        assert SECRET.encode() not in client.get(f"/experiments/first{path}", buffered=True).data, (
            path
        )


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "run.json", "logs", "1.log"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device", "endless"])
def test_planted_special_file(client, settings, tmp_path, name, kind):
    """Pipes, sockets, folders, devices and sparse files neither block nor break an answer."""
    client.post("/test", data=FORM)
    path = settings.output_dir / "first" / ("logs/1.log" if name == "1.log" else name)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as unix_socket:
            unix_socket.bind(path.name)  # the absolute path may exceed sun_path
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**26)  # sparse

    for address in ("", "/logs", "/logs?tail=5", "/metrics", "/files", "/files?sha256=true"):
        response = client.get(f"/experiments/first{address}", buffered=True)
        assert response.status_code == 200, address
        assert len(response.data) < 100_000, address
    for page in ("/ui", "/ui/experiments/first", "/compare?ids=first"):
        assert client.get(page).status_code == 200, page


METRICS = {
    "no number": b'{"epoch": 1, "loss": NaN, "val_loss": -Infinity}',
    "a number without end": b'{"epoch": 1, "loss": 1' + b"0" * 400 + b"}",
    "a number too long to be read": b'{"epoch": 1, "loss": 1' + b"0" * 5000 + b"}",
    "an epoch without end": b'{"epoch": 1' + b"0" * 400 + b', "loss": 1}',
    "an epoch that is none": b'{"epoch": true, "loss": 1}',
    "half a character": b'{"epoch": 1, "\\ud800": 1, "a": "\\udfff"}',
    "NUL": b'{"epoch": 1, "a\\u0000b": "\\u0000"}',
    "lists in lists": b'{"epoch": 1, "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "lists just too deep": b'{"epoch": 1, "a": ' + b"[" * 960 + b"]" * 960 + b"}",
    "objects in objects": b'{"epoch": 1, "a": ' + b'{"a":' * 960 + b"1" + b"}" * 961,
    "other types": b'{"epoch": "x", "loss": [1], "val_loss": {}, "seconds": "-1"}',
    "names of JavaScript": b'{"epoch": 1, "__proto__": 1, "constructor": {"prototype": 1}}',
    "no UTF-8": b'{"epoch": 1, "\xff\xfe": 1}',
    "a line without end": b'{"epoch": 1, "a": "' + b"x" * 10_000_000,
}


@pytest.mark.parametrize("line", METRICS.values(), ids=METRICS)
def test_hostile_metrics_are_answered(client, settings, line):
    for experiment_id in ("first", "second"):
        client.post("/test", data=FORM | {"experiment_id": experiment_id})
    (settings.output_dir / "first" / "metrics.jsonl").write_bytes(line + b"\n" + line + b"\n")

    for address in (
        "/experiments/first",
        "/experiments/first/metrics",
        "/compare?ids=first,second",
    ):
        response = client.get(address)
        assert response.status_code == 200, address
        json.loads(response.data, parse_constant=pytest.fail)  # RFC 8259 knows no NaN
    for page in ("/ui", "/ui/experiments/first", "/ui/compare?id=first&id=second"):
        assert client.get(page).status_code == 200, page
    assert type(client.get("/experiments/first").json["progress"]["epoch"]) is int


# SQL in filters and sort: Flyte CVE-2023-41891.


@pytest.mark.parametrize("parameter", ["q", "status", "model", "after", "limit", "sort", "order"])
@pytest.mark.parametrize(
    "sql", ["' OR '1'='1", "1; DROP TABLE experiment", "x') UNION SELECT 1 --", "%", "\\", "_"]
)
def test_sql_in_query_is_text(client, parameter, sql):
    client.post("/test", data=FORM)
    response = client.get("/experiments", query_string={parameter: sql})

    assert response.status_code == 422 or response.json == []
    assert len(client.get("/experiments").json) == 1


# Client input in the pod spec: Argo CVE-2026-31892.


@pytest.mark.parametrize(
    "field", ["image", "command", "args", "spec", "podSpecPatch", "env", "volumes", "model", "job"]
)
def test_pod_fields_refused(client, launcher, field):
    for value in ("evil", {"securityContext": {"privileged": True}}):
        assert client.post("/test", json=FORM | {field: value}).status_code == 422
    assert not launcher.jobs


# Stored XSS: ClearML CVE-2024-24594, Argo GHSA-cmv8-6362-r5w9.

SCRIPT = "<script>alert(1)<\\u002fscript><img src=x onerror=alert(1)>"


def test_stored_html_is_inert(client, settings):
    name = "<img src=x onerror=alert(1)>"
    client.post("/test", data=FORM | {"experiment_id": name})
    folder = settings.output_dir / name
    (folder / "page.html").write_text(SCRIPT)
    (folder / "image.svg").write_text("<svg onload='alert(1)'/>")
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, SCRIPT: 1}) + "\n")
    root = f"/experiments/{quote(name)}"

    for path in ("", "/logs", "/metrics", "/files", "/files/page.html", "/files/image.svg"):
        headers = client.get(root + path, buffered=True).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy or "sandbox" in policy, path
        is_page = headers["Content-Type"].startswith(("text/html", "image/svg"))
        assert not is_page or "sandbox" in policy, path
    for page in ("/ui", f"/ui{root}"):
        assert b"<img src=x" not in client.get(page).data


# Unpickling artifacts: ClearML CVE-2024-24590.


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self._folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self._folder,))


@pytest.mark.parametrize("name", ["model.pt", "metrics.jsonl", "summary.json", "run.json"])
def test_nothing_is_unpickled(client, settings, tmp_path, name):
    client.post("/test", data=FORM)
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    assert b"\n" not in bomb  # else it would be several lines of metrics
    (settings.output_dir / "first" / name).write_bytes(bomb + b"\n")

    for path in ("", "/metrics", "/files", f"/files/{name}", "/files.zip"):
        assert client.get(f"/experiments/first{path}", buffered=True).status_code < 500, path
    outputs = Outputs(settings.output_dir)
    outputs.read_run_file("first")
    outputs.has_summary("first")
    outputs.has_tombstone("first", "")
    assert not (tmp_path / "exploded").exists()


# Form-parser exhaustion: Werkzeug CVE-2023-25577, -46136.


@pytest.mark.parametrize(
    "body",
    [
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 1000 + b"--x--",
        b"--x\r\n" + b"\r" * 60_000,
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"\r\n-" * 20_000,
        b"--x\r\n" + b"X-Header: 1\r\n" * 4_000 + b"\r\n\r\n--x--",
        b"--x\r\nContent-Disposition: form-data; " + b'name="a";' * 6_000 + b"\r\n\r\n1\r\n--x--",
    ],
    ids=["parts", "carriage returns", "almost boundaries", "part headers", "parameters"],
)
def test_exhausting_form_refused(client, launcher, body):
    response = client.post("/test", data=body, content_type="multipart/form-data; boundary=x")

    assert response.status_code in (400, 413, 422)
    assert response.content_type == "application/problem+json"
    assert not launcher.jobs


@pytest.mark.parametrize("pieces", [10, 200])
def test_chunked_form_has_same_limit(client, launcher, pieces):
    """Without a Content-Length, what is read must be counted."""
    part = b'--x\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n' + b"1" * 60_000 + b"\r\n"
    body = b"".join(part % number for number in range(pieces)) + b"--x--"
    response = client.post(
        "/test",
        input_stream=io.BytesIO(body),
        headers={"Transfer-Encoding": "chunked"},
        content_type="multipart/form-data; boundary=x",
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert response.status_code == 413
    assert not launcher.jobs


def multipart(*parts):
    return b"".join(b"--x\r\n%s\r\n" % part for part in parts) + b"--x--\r\n"


FIELD = b'Content-Disposition: form-data; name="%s"'
FIELDS = [FIELD % b"learning_rate" + b"\r\n\r\n1", FIELD % b"epoch" + b"\r\n\r\n1"]


@pytest.mark.parametrize(
    "part",
    [
        FIELD % b"experiment_id" + b'; filename="../../secret"\r\n\r\nx',
        FIELD % b"experiment_id" + b"; filename*=UTF-8''..%2f..%2fsecret\r\n\r\nx",
        FIELD % b"experiment_id" + b"\r\n\r\n../../secret",
        FIELD % b"experiment_id" + b"\r\nContent-Transfer-Encoding: base64\r\n\r\nLi4v\r\nLi4v",
        FIELD % b"experiment_id" + b"\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n"
        b'Content-Disposition: attachment; filename="secret"\r\n\r\nx\r\n--y--',
        FIELD % b"experiment_id\r\nX: 1" + b"\r\n\r\na/b",
    ],
    ids=["file name", "file name*", "path", "base64", "in one another", "header in a name"],
)
def test_traversal_in_multipart(client, launcher, secret, part):
    body = multipart(*FIELDS, part)
    response = client.post("/test", data=body, content_type="multipart/form-data; boundary=x")

    assert response.status_code in (400, 422), response.text
    assert not launcher.jobs
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_compressed_body_refused(client, launcher, kind):
    """A bomb of a few bytes would be gigabytes."""
    body = gzip.compress(json.dumps(FORM).encode() + b" " * 10_000_000)
    response = client.post(
        "/test", data=body, content_type=kind, headers={"Content-Encoding": "gzip"}
    )

    assert response.status_code == 415
    assert not launcher.jobs


@pytest.mark.parametrize("text", ["[" * 30_000, '{"a":' * 10_000, "1" * 60_000, '"\\ud800"'])
def test_exhausting_json_refused(client, launcher, text):
    for body in (text, f'{{"experiment_id": "a", "epoch": 1, "learning_rate": {text}'):
        for end in ("", "}", "]" * 30_000):
            response = client.post("/test", data=body + end, content_type="application/json")
            assert response.status_code in (400, 413, 422)
    assert not launcher.jobs


# Secrets in logs and errors: GO-2025-4024.


def test_database_password_never_shown(settings, launcher, caplog):
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # nothing listens here after this block
    url = f"mysql://testuser:{PASSWORD}@127.0.0.1:{port}/testdb"
    database = Settings.from_environment({"DB_URL": url}).database_url
    app = create_app(replace(settings, database_url=database), launcher)
    client = app.test_client()
    answers = [client.post("/test", data=FORM), client.get("/readyz"), client.get("/ui")]
    app.extensions["services"].close()

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert "database" in caplog.text
    for text in (caplog.text, *(answer.text for answer in answers)):
        assert PASSWORD not in text
        assert "testuser" not in text
