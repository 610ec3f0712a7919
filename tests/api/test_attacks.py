"""What broke others: each group names the hole it would be."""

import itertools
import json
import pickle
from urllib.parse import quote

import pytest

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "first"}
SECRET = "outside-of-every-folder"
CLIMBS = ["../", "..\\", "/", "....//", "./../", "a/../../", "\0../", "．．/"]


def encodings(text):
    """Give a text plain, and encoded once, twice and by hand."""
    once = quote(text, safe="")
    return {text, once, quote(once, safe=""), text.replace(".", "%2e"), once.replace("%", "%25")}


TRAVERSALS = sorted(
    one
    for climb, depth in itertools.product(CLIMBS, (1, 2, 3))
    for one in encodings(climb * depth + "secret")
)


@pytest.fixture
def secret(tmp_path, settings):
    """A file beside the folders, which nothing may reach."""
    (tmp_path / "secret").write_text(SECRET)
    settings.output_dir.mkdir(exist_ok=True)
    (settings.output_dir / "secret").write_text(SECRET)  # beside the runs' own folders
    return tmp_path / "secret"


# Path traversal: MLflow CVE-2023-1177, -2780, -6909, CVE-2024-1483, -1560, -2928 and Aim
# CVE-2021-43775.


@pytest.mark.parametrize(
    "address",
    ["/experiments/{}", "/experiments/{}/logs", "/experiments/first/files/{}", "/inputs/{}"],
)
def test_no_path_leads_out_of_its_folder(client, secret, address):
    client.post("/test", data=FORM)
    for traversal in TRAVERSALS:
        response = client.get(address.format(traversal), follow_redirects=True, buffered=True)
        assert SECRET not in response.text, traversal
        assert response.status_code in (400, 404, 422), (traversal, response.status_code)
        put = client.put(f"/inputs/{traversal}", data=b"x")
        assert put.status_code in (308, 400, 404, 405, 422), (traversal, put.status_code)
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("field", ["experiment_id", "dataset"])
def test_no_field_of_a_form_leads_out_of_its_folder(client, launcher, secret, field, settings):
    for value in ("../secret", "..\\secret", "/secret", "a/../../secret", "./secret", "..", "."):
        response = client.post("/test", data=FORM | {field: value})
        assert response.status_code == 422, value
    assert not launcher.jobs
    assert secret.read_text() == SECRET


def test_an_id_that_looks_encoded_is_that_very_id(client, settings):
    for experiment_id in ("a%2Fb", "%2e%2e", "%252e%252e%252fsecret"):
        response = client.post("/test", data=FORM | {"experiment_id": experiment_id})
        assert response.status_code == 201
        assert (settings.output_dir / experiment_id).is_dir()


# Links planted by a trainer: Argo CVE-2025-62156.


@pytest.mark.parametrize("name", ["link", "metrics.jsonl", "summary.json", "logs"])
def test_a_planted_link_shows_nothing(client, secret, settings, name):
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


# SQL in filters and sort: Flyte CVE-2023-41891.


@pytest.mark.parametrize("parameter", ["q", "status", "model", "after", "limit", "sort", "order"])
@pytest.mark.parametrize(
    "sql", ["' OR '1'='1", "1; DROP TABLE experiment", "x') UNION SELECT 1 --", "%", "\\", "_"]
)
def test_sql_is_no_more_than_text(client, parameter, sql):
    client.post("/test", data=FORM)
    response = client.get("/experiments", query_string={parameter: sql})

    assert response.status_code == 422 or response.json == []
    assert len(client.get("/experiments").json) == 1


# Anything of the user's in the pod spec: Argo CVE-2026-31892.


@pytest.mark.parametrize(
    "field", ["image", "command", "args", "spec", "podSpecPatch", "env", "volumes", "model", "job"]
)
def test_no_field_reaches_the_pod(client, launcher, field):
    for value in ("evil", {"securityContext": {"privileged": True}}):
        assert client.post("/test", json=FORM | {field: value}).status_code == 422
    assert not launcher.jobs


# Stored XSS: ClearML CVE-2024-24594, Argo GHSA-cmv8-6362-r5w9.

SCRIPT = "<script>alert(1)<\\u002fscript><img src=x onerror=alert(1)>"


def test_what_was_stored_is_never_a_page(client, settings):
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
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


@pytest.mark.parametrize("name", ["model.pt", "metrics.jsonl", "summary.json", "run.json"])
def test_nothing_is_unpickled(client, settings, name):
    client.post("/test", data=FORM)
    (settings.output_dir / "first" / name).write_bytes(pickle.dumps(Bomb()))

    for path in ("", "/metrics", "/files", f"/files/{name}", "/files.zip"):
        assert client.get(f"/experiments/first{path}", buffered=True).status_code < 500, path


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
def test_a_form_made_to_exhaust_the_parser_is_refused(client, launcher, body):
    response = client.post("/test", data=body, content_type="multipart/form-data; boundary=x")

    assert response.status_code in (400, 413, 422)
    assert response.content_type == "application/problem+json"
    assert not launcher.jobs
