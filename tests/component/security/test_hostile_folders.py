"""Whatever files a trainer makes, routes that read its folder answer."""

import os
import socket
from contextlib import chdir, closing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from backend.launchers.base import Observation, Phase
from tests.component.security.test_hostile_files import MAX_BYTES_READ, ROUTES, bytes_read
from tests.component.support import FORM

ALL_ROUTES = (
    *ROUTES,
    "/experiments/first/files?sha256=true",
    "/experiments/first/files.zip",
    "/ui/new?from=first",
)
FILES = (
    *("parameters.json", "inputs.json", "summary.json", "metrics.jsonl"),
    *("forgotten.json", "checkpoint.bin", "model.pt", "reconstruction.png", "logs/1.log"),
)
CONTENTS = {
    "objects": b'{"a":' * 100_000,
    "lists": b"[" * 900_000,
    "null": b"null",
    "a number": b"1e999",
    "a long number": b'{"epoch": ' + b"9" * 60_000 + b"}\n",
    "half a pair": b'{"epoch": 1, "uid": "\\ud800"}\n',
    "no text": bytes(range(256)) * 100,
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\xff" * 1000,
    "many names": b"".join(b'{"epoch":%d,"m%d":%d}\n' % (n, n % 5000, n) for n in range(50_000)),
    "far apart": b'{"epoch": 1, "loss": 1e308, "seconds": 1e308}\n{"epoch": 2, "loss": -1e308}\n',
}
NAMES = [
    *(b"\xff\xfe", b"\xed\xa0\x80", "가".encode() * 80, b"a" * 255, b"x\ny", b"x\ry", b"tab\t"),
    *(
        b"<b>",
        b"C:x",
        b"aux",
        b"a\\b",
        b"%2e%2e",
        b" ",
        b"...",
        "\u202egpj".encode(),
        b"LEFT-OUT.txt",
    ),
    *(b"checkpoint.\xff", b"\xff.png", b"'; DROP TABLE", b"-rf", b"*", b"~", b"$HOME", b"a;b"),
]


@pytest.fixture
def folder(services, client, experiments):
    """Return the folder of a failed experiment, whose log is saved there."""
    for name in ("first", "second"):
        client.post("/test", data=FORM | {"experiment_id": name})
        experiment = experiments.get(name)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    return services.outputs.folder("first")


def check(client):
    """Check that every route answers, and reads a limited number of bytes."""
    for route in ALL_ROUTES:
        before = bytes_read()
        response = client.get(route, buffered=True)
        assert response.status_code < 500, route
        assert response.status_code == 200 or "zip" in route, route
        assert bytes_read() - before <= MAX_BYTES_READ, route


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_hostile_content_of_every_file(client, reconciler, folder, content):
    for name in FILES:
        (folder / name).write_bytes(content)
    check(client)
    (folder / "run.json").write_bytes(content)
    check(client)
    reconciler.reconcile()


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "link", "loop", "folder", "secret"])
def test_no_regular_file(client, reconciler, folder, kind):
    for name in (*FILES, "run.json"):
        plant(kind, folder / name)
    check(client)
    for name in (*FILES, "run.json"):
        assert client.get(f"/experiments/first/files/{name}").status_code == 404, name
    assert client.get("/experiments/first/files").json["files"] == []
    reconciler.reconcile()


def plant(kind, path):
    """Put something that is no regular file in the place of one."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with chdir(path.parent), closing(socket.socket(socket.AF_UNIX)) as unix:
            unix.bind(path.name)
    elif kind == "device":
        if os.geteuid():
            pytest.skip("only root makes devices")
        os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": "/dev/zero", "loop": path.name, "secret": "/etc/passwd"}[kind])


def test_hostile_names(client, folder):
    for name in NAMES:
        (folder / os.fsdecode(name)).write_text("{}")

    check(client)
    files = client.get("/experiments/first/files").json["files"]
    assert {"checkpoint.bin", "LEFT-OUT.txt", "$HOME"} & {one["path"] for one in files}
    for file in files:
        address = f"/experiments/first/files/{quote(file['path'])}"
        assert client.get(address, buffered=True).status_code == 200, file


def test_many_files(client, folder):
    """More than are listed; the list says so."""
    (folder / "many").mkdir()
    for number in range(100_000):
        path = folder / "many" / str(number)
        if number % 20_000 == 0:  # a file has at most 65,000 links on ext4
            first = path
            first.touch()
        else:
            path.hardlink_to(first)

    check(client)
    assert client.get("/experiments/first/files").json["complete"] is False
    assert client.get("/experiments/first/files.zip").status_code == 409


def test_deep_folders(client, services, folder):
    """Nested too deeply for a path; the folder can be deleted nevertheless."""
    with chdir(folder):
        for _ in range(1500):
            Path("deep").mkdir()
            os.chdir("deep")

    check(client)
    assert client.delete("/experiments/first?outputs=true").status_code == 204
    assert not folder.exists()


def test_folder_replaced(client, folder, tmp_path):
    """The folder itself is a link to that of another."""
    folder.rename(tmp_path / "aside")
    folder.symlink_to(folder.parent / "second")

    check(client)
    with suppress(KeyError):
        assert client.get("/experiments/first/files").json["files"] == []
