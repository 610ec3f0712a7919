"""The files of an experiment: list, download, and nothing outside its folder."""

import hashlib
import io
import os
import zipfile
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from backend.files import outputs as module
from backend.web.routes import downloads

FORM = {"learning_rate": "0.001", "epoch": "20", "experiment_id": "실험 1"}
EXPERIMENT = f"/experiments/{quote('실험 1')}"
PNG = b"\x89PNG\r\n\x1a\n and more"


class Client(FlaskClient):
    """Reads answers to the end and closes them, as a server does."""

    def open(self, *args, buffered=True, **options):
        return super().open(*args, buffered=buffered, **options)


@pytest.fixture
def client(app):
    app.test_client_class = Client
    return app.test_client()


@pytest.fixture
def folder(client, settings):
    client.post("/test", data=FORM)
    folder = settings.output_dir / "실험 1"
    (folder / "logs").mkdir()
    (folder / "logs" / "1.log").write_text("epoch 1\n")
    (folder / "digits.bin").write_bytes(b"0123456789")
    (folder.parent / "secret").write_text("a secret")
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "secret").write_text("a secret")
    return folder


@pytest.fixture
def outputs(app):
    return app.extensions["services"].outputs


def paths(client, query=""):
    return [file["path"] for file in client.get(f"{EXPERIMENT}/files{query}").json["files"]]


def test_list(client, folder):
    os.utime(folder / "digits.bin", (0, 1_700_000_000.5))
    answer = client.get(f"{EXPERIMENT}/files").json

    assert answer["experiment_id"] == "실험 1"
    assert answer["complete"] is True
    assert [file["path"] for file in answer["files"]] == [
        "digits.bin",
        "logs/1.log",
        "parameters.json",
        "run.json",
    ]
    assert answer["files"][0] == {
        "path": "digits.bin",
        "size": 10,
        "modified": "2023-11-14T22:13:20.500000Z",
    }


def test_digests_on_request(client, folder, monkeypatch):
    monkeypatch.setattr("backend.web.routes.results.MAX_DIGEST_BYTES", 10)
    files = client.get(f"{EXPERIMENT}/files?sha256=true").json["files"]

    assert files[0]["sha256"] == hashlib.sha256(b"0123456789").hexdigest()
    assert files[1]["sha256"] is None


def test_missing_folder_lists_nothing(client, folder):
    folder.rename(folder.parent / "away")

    assert paths(client) == []


def test_hidden_and_special_files(client, folder, tmp_path):
    for name in (".lock", ".run.json.123", "a\\b", "a\nb", os.fsdecode(b"\xff")):
        (folder / name).touch()
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "file").touch()
    (folder / "link").symlink_to(folder / "digits.bin")
    (folder / "away").symlink_to(folder.parent / "other")
    os.mkfifo(folder / "pipe")

    assert paths(client) == ["digits.bin", "logs/1.log", "parameters.json", "run.json"]
    for name in (".lock", ".hidden/file", "a\\b", "a\nb", "link", "away/secret", "pipe"):
        assert client.get(f"{EXPERIMENT}/files/{quote(name)}").status_code == 404


def test_very_many_files(client, folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 4)
    for number in range(10):
        (folder / f"{number}").touch()
    answer = client.get(f"{EXPERIMENT}/files").json

    assert answer["complete"] is False
    assert 0 < len(answer["files"]) <= 4
    archive = client.get(f"{EXPERIMENT}/files.zip")
    assert archive.status_code == 409
    assert "one by one" in archive.json["detail"]


def test_deep_folders(client, folder):
    deep = folder
    for _ in range(30):
        deep /= "d"
        deep.mkdir()
    (deep / "file").touch()
    answer = client.get(f"{EXPERIMENT}/files").json

    assert answer["complete"] is False
    assert [file["path"] for file in answer["files"]] == [
        "digits.bin",
        "logs/1.log",
        "parameters.json",
        "run.json",
    ]
    assert client.get(f"{EXPERIMENT}/files/{'d/' * 1500}file").status_code == 404


def test_download(client, folder):
    response = client.get(f"{EXPERIMENT}/files/logs/1.log")

    assert response.data == b"epoch 1\n"
    assert response.content_type == "application/octet-stream"
    assert response.headers["Content-Length"] == "8"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"] == 'attachment; filename="1.log"'
    assert response.last_modified is not None
    assert client.head(f"{EXPERIMENT}/files/logs/1.log").headers["Content-Length"] == "8"


def test_empty_file(client, folder):
    (folder / "empty").touch()
    response = client.get(f"{EXPERIMENT}/files/empty", headers={"Range": "bytes=0-1"})

    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "결과 1.csv",
            "attachment; filename=\"__ 1.csv\"; filename*=UTF-8''%EA%B2%B0%EA%B3%BC%201.csv",
        ),
        ('a"b;%41', "attachment; filename=\"a_b;_41\"; filename*=UTF-8''a%22b%3B%2541"),
    ],
)
def test_name_in_any_script(client, folder, name, value):
    (folder / name).touch()

    assert name in paths(client)
    assert client.get(f"{EXPERIMENT}/files/{quote(name)}").headers["Content-Disposition"] == value


@pytest.mark.parametrize(
    ("content", "content_type", "kind"),
    [
        (PNG, "image/png", "inline"),
        (b"\xff\xd8\xff\xe0 and more", "image/jpeg", "inline"),
        (b"<script>alert(1)</script>", "application/octet-stream", "attachment"),
        (b"GIF89a", "application/octet-stream", "attachment"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "application/octet-stream", "attachment"),
    ],
)
def test_only_real_pictures_are_inline(client, folder, content, content_type, kind):
    (folder / "picture.png").write_bytes(content)
    response = client.get(f"{EXPERIMENT}/files/picture.png")

    assert response.data == content
    assert response.content_type == content_type
    assert response.headers["Content-Disposition"].startswith(kind)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("range_header", "status", "content", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-99", 200, b"0123456789", None),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=0-1,5-6", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=x", 200, b"0123456789", None),
        ("bytes=5-2", 200, b"0123456789", None),
    ],
)
def test_range(client, folder, range_header, status, content, content_range):
    response = client.get(f"{EXPERIMENT}/files/digits.bin", headers={"Range": range_header})

    assert response.status_code == status
    assert response.headers.get("Content-Range") == content_range
    if content is not None:
        assert response.data == content
        assert response.headers["Content-Length"] == str(len(content))
    else:
        assert response.content_type == "application/problem+json"


def test_range_of_large_file(client, folder):
    content = os.urandom(3 * downloads.PIECE_BYTES + 17)
    (folder / "large").write_bytes(content)
    begin, end = downloads.PIECE_BYTES - 5, 2 * downloads.PIECE_BYTES + 5
    response = client.get(
        f"{EXPERIMENT}/files/large", headers={"Range": f"bytes={begin}-{end - 1}"}
    )

    assert response.data == content[begin:end]
    assert client.get(f"{EXPERIMENT}/files/large").data == content


def test_if_range(client, folder):
    path = f"{EXPERIMENT}/files/digits.bin"
    etag = client.get(path).headers["ETag"]
    headers = {"Range": "bytes=0-3", "If-Range": etag}
    assert client.get(path, headers=headers).status_code == 206

    (folder / "digits.bin").write_bytes(b"other than before")
    assert client.get(path, headers=headers).data == b"other than before"


def test_not_modified(client, folder):
    path = f"{EXPERIMENT}/files/digits.bin"
    first = client.get(path)
    again = {"If-None-Match": first.headers["ETag"]}
    since = {"If-Modified-Since": first.headers["Last-Modified"]}

    assert client.get(path, headers=again).status_code == 304
    assert client.get(path, headers=since).status_code == 304
    assert client.get(path, headers=again | {"Range": "bytes=0-3"}).status_code == 304


OUTSIDE = [
    "../secret",
    "../other/secret",
    "..%2fsecret",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    ".%2e/secret",
    "%252e%252e%252fsecret",
    "logs/../../secret",
    "logs/../digits.bin",
    "./digits.bin",
    "logs/./1.log",
    "logs//1.log",
    "..%5csecret",
    "..\\secret",
    "%2e%2e%5csecret",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "%2f%2fetc/passwd",
    "digits.bin%00",
    "digits.bin%00.png",
    "digits.bin//..",
    "digits.bin/.",
    "%c0%ae%c0%ae/secret",
    "%c0%ae%c0%ae%c0%afsecret",
    "%ef%bc%8e%ef%bc%8e/secret",
    "..%u2215secret",
    "%ff",
    "%ed%a0%80",
    "~/secret",
    "C:/secret",
    "file:///etc/passwd",
    "%20",
    "logs",
    ".",
    "..",
    "x" * 300,
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_path_traversal(client, folder, path):
    response = client.get(f"{EXPERIMENT}/files/{path}", follow_redirects=True)

    assert response.status_code == 404
    assert b"secret" not in response.data.replace(b"secret'", b"")
    assert b"root:" not in response.data
    assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("target", ["../secret", "../other", "/etc/passwd", "/", "digits.bin"])
def test_links_not_followed(client, folder, target):
    (folder / "link").symlink_to(target)
    (folder / "logs" / "link").symlink_to(folder / target)

    for path in ("link", "link/secret", "link/etc/passwd", "logs/link", "logs/link/secret"):
        assert client.get(f"{EXPERIMENT}/files/{path}").status_code == 404
    with zipfile.ZipFile(io.BytesIO(client.get(f"{EXPERIMENT}/files.zip").data)) as archive:
        assert archive.namelist() == ["digits.bin", "logs/1.log", "parameters.json", "run.json"]


def test_folder_replaced_by_link(client, folder, outputs):
    """A folder that turns into a link between listing and opening is not followed."""
    entries, _ = outputs.list_files("실험 1")
    (folder / "logs").rename(folder / "old")
    (folder / "other").mkdir()
    (folder.parent / "other" / "1.log").write_text("a secret")
    (folder / "logs").symlink_to(folder.parent / "other")

    opened = [outputs.open_listed("실험 1", entry.path) for entry in entries]
    assert [entry.path for entry, file in zip(entries, opened, strict=True) if file is None] == [
        "logs/1.log"
    ]
    for file in filter(None, opened):
        file.close()


def test_growing_file(client, folder):
    with client.get(f"{EXPERIMENT}/files/digits.bin", buffered=False) as response:
        with (folder / "digits.bin").open("ab") as out:
            out.write(b"more")
        assert b"".join(response.response) == b"0123456789"


def test_shrinking_file(client, folder):
    (folder / "large").write_bytes(bytes(3 * downloads.PIECE_BYTES))
    response = client.get(f"{EXPERIMENT}/files/large", buffered=False)
    pieces = iter(response.response)
    next(pieces)
    os.truncate(folder / "large", 10)
    with pytest.raises(downloads.CutShort):
        list(pieces)
    response.close()


def test_archive(client, folder):
    (folder / "결과.csv").write_text("a,b\n")
    os.utime(folder / "digits.bin", (0, 0))  # earlier than a ZIP archive can represent
    response = client.get(f"{EXPERIMENT}/files.zip")

    assert response.content_type == "application/zip"
    assert quote("실험 1.zip") in response.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(response.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "digits.bin",
            "logs/1.log",
            "parameters.json",
            "run.json",
            "결과.csv",
        ]
        assert archive.read("결과.csv") == b"a,b\n"
        assert archive.getinfo("digits.bin").date_time[0] == 1980


def test_archive_of_changing_files(client, folder, outputs):
    entries, _ = outputs.list_files("실험 1")
    (folder / "digits.bin").write_bytes(b"0123456789 and more")
    (folder / "run.json").write_bytes(b"")
    opened = [(entry, outputs.open_listed("실험 1", entry.path)) for entry in entries]
    content = b"".join(downloads.zip_pieces(opened))

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.read("digits.bin") == b"0123456789"
        assert archive.read("run.json") == b""


def test_abandoned_archive_closes_files(client, folder, outputs):
    entries, _ = outputs.list_files("실험 1")
    opened = [(entry, outputs.open_listed("실험 1", entry.path)) for entry in entries[:1]]
    pieces = downloads.zip_pieces(opened)
    next(pieces)
    pieces.close()

    assert opened[0][1].closed


@pytest.mark.parametrize("path", ["files", "files/run.json", "files.zip"])
def test_unknown_experiment(client, path):
    assert client.get(f"/experiments/none/{path}").status_code == 404


def test_invalid_query(client, folder):
    assert client.get(f"{EXPERIMENT}/files?sha256=perhaps").status_code == 422
    assert client.get(f"{EXPERIMENT}/files?depth=1").status_code == 422


def test_archive_keeps_modified_times(client, folder):
    os.utime(folder / "digits.bin", (0, datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp()))
    with zipfile.ZipFile(io.BytesIO(client.get(f"{EXPERIMENT}/files.zip").data)) as archive:
        assert archive.getinfo("digits.bin").date_time == (2024, 2, 29, 12, 0, 0)
