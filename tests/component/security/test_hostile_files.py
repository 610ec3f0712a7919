"""Whatever a trainer writes into its folder, routes that read it answer, at a bounded cost."""

import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.experiments.run_file import UnusableRunFile
from backend.launchers.base import Observation, Phase
from backend.web import processor_time
from backend.web.routes.logs import TOO_COSTLY
from tests.component.support import FORM

ROUTES = (
    "/model",
    "/ui",
    "/ui/experiments/first",
    "/ui/compare?id=first&id=second",
    "/experiments",
    "/experiments/first",
    "/experiments/first/metrics",
    "/experiments/first/metrics?max_points=10&since_epoch=0.5",
    "/experiments/first/logs",
    "/experiments/first/logs?tail=3",
    "/experiments/first/logs?follow=true&tail=2",
    "/experiments/first/files",
    "/compare?id=first&id=second",
)
IO = Path("/proc/self/io")
MAX_BYTES_READ = 64 * 2**20  # of all files, by one request
MAX_BYTES_KEPT = 4 * 2**20  # in one answer

numbers = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([0, -1, 0.5, 1e18, 1e308, -1e308, 2**31 - 1, 2**53, 2**63, 10**30, 10**400]),
)
names = st.one_of(
    st.sampled_from(["epoch", "loss", "val_loss", "seconds", "__proto__"]), st.text(max_size=8)
)
values = st.recursive(
    st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=10)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
rows = st.dictionaries(names, values, max_size=6).map(lambda row: json.dumps(row).encode())
lines = st.one_of(rows, rows, st.binary(max_size=40), st.just(b'{"epoch": 1, "loss": '))
ends = st.sampled_from([b"\n", b"\n", b"\n\n", b"\r\n", b""])
contents = st.lists(st.tuples(lines, ends), max_size=12).map(
    lambda parts: b"".join(map(b"".join, parts))
)
hostile = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def folder(services, client, experiments, launcher):
    """Return the folder of a failed experiment whose log is read from the folder."""
    for name in ("first", "second"):
        client.post("/test", data=FORM | {"experiment_id": name})
        experiment = experiments.get(name)
        services.recorder.record(experiment, Observation(experiment.uid, Phase.FAILED))
    return services.outputs.folder("first")


def check_routes(client):
    for route in ROUTES:
        before = bytes_read()
        response = client.get(route)
        assert response.status_code == 200, route
        assert len(response.data) <= MAX_BYTES_KEPT, route
        assert bytes_read() - before <= MAX_BYTES_READ, route


def bytes_read():
    """Return how many bytes this process has read so far; 0 where the system does not count."""
    if not IO.exists():
        return 0
    return int(IO.read_text().split()[1])  # rchar (proc_pid_io(5))


@hostile
@given(metrics=contents, log=contents, summary=contents)
def test_hostile_content_is_answered(client, folder, metrics, log, summary):
    (folder / "metrics.jsonl").write_bytes(metrics)
    (folder / "summary.json").write_bytes(summary)
    (folder / "logs" / "1.log").write_bytes(log)

    check_routes(client)


@hostile
@given(changes=st.dictionaries(st.text(max_size=5), values, max_size=3), data=st.data())
def test_hostile_run_file_is_refused_or_valid(client, services, archive, folder, changes, data):
    """A run.json that a trainer has changed is refused, or describes a sensible experiment."""
    path = folder / "run.json"
    original = path.read_bytes()
    try:
        content = json.loads(original)
        for name in data.draw(st.lists(st.sampled_from(sorted(content)), max_size=3)):
            changes[name] = data.draw(values)
        path.write_text(json.dumps(content | changes))
        try:
            record = archive.read("first")
        except UnusableRunFile:
            pass
        else:
            assert 1 <= record.attempt.number <= 10_000
            assert 1 <= record.attempt.epoch < 2**31
        for route in ("/ui", "/experiments/first"):
            assert client.get(route).status_code == 200
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (name, content)
        for name in ("metrics.jsonl", "summary.json", "logs/1.log", "run.json")
        for content in (b"", b"\n" * 4_000_000)
        if not (name == "logs/1.log" and content)  # the whole log is the answer
    ],
)
def test_huge_file_costs_little(client, services, folder, name, content):
    """A file of 8 TB takes no disk, and is not read to its end."""
    with (folder / name).open("wb") as out:
        out.write(content)
        out.truncate(2**43)
        out.seek(0, os.SEEK_END)
        out.write(b'\n{"epoch": 1}\n')

    check_routes(client)


COSTLY = {
    "escape sequences": (b"\x1b[2K\x1b[999Cx" * 5000 + b"\n") * 100,
    "carriage returns": (b"\r" * 60_000 + b"\n") * 100,
    "newlines": b"\n" * 5_000_000,
}


@pytest.fixture
def followed_file(services, monkeypatch):
    """The log is followed in its file, as a local launcher's is; a tenth of the time suffices."""
    monkeypatch.setattr(processor_time, "ANSWER_SECONDS", processor_time.ANSWER_SECONDS / 10)
    monkeypatch.setattr(services.logs, "_source", None)


@pytest.mark.parametrize("content", COSTLY.values(), ids=COSTLY)
@pytest.mark.parametrize(
    "query", ["", "?tail=1000000", "?follow=true", "?follow=true&tail=1000000"]
)
def test_costly_log_is_cut_off(client, folder, followed_file, content, query):
    """Showing it takes a limited processor time, and the answer says what that left out."""
    (folder / "logs" / "1.log").write_bytes(content)
    response = client.get(f"/experiments/first/logs{query}")

    assert response.status_code == 200
    assert response.data.endswith(TOO_COSTLY)
    assert len(response.data) < len(content)


@pytest.mark.parametrize("content", COSTLY.values(), ids=COSTLY)
def test_costly_events_are_continued(client, folder, followed_file, content):
    """The stream ends without `event: end`, so that its client continues after the last line."""
    (folder / "logs" / "1.log").write_bytes(content)
    headers = {"Accept": "text/event-stream"}
    before = 0
    for _ in range(2):
        text = client.get("/experiments/first/logs", headers=headers).text
        assert "event: end" not in text
        last = int(text.rpartition("\nid: ")[2].partition("\n")[0])
        assert last > before
        before = last
        headers["Last-Event-ID"] = str(last)


def test_plain_log_is_whole(client, folder):
    """A long log of ordinary lines is far within the limit."""
    content = b"epoch 12/20 loss 0.12345678 val_loss 0.12345678\n" * 200_000
    (folder / "logs" / "1.log").write_bytes(content)

    assert client.get("/experiments/first/logs").data == content


def test_archive_leaves_out_sparse_file(client, folder):
    """Terabytes of nothing are not compressed; the archive says so, and has the other files."""
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "LEFT-OUT.txt").write_text("nothing is left out")
    with (folder / "sparse.bin").open("wb") as sparse:
        sparse.truncate(2**43)

    content = client.get("/experiments/first/files.zip").data

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.read("model.bin") == b"weights"
        assert "sparse.bin (8796093022208 bytes)" in archive.read("LEFT-OUT.txt").decode()
        assert "sparse.bin" not in archive.namelist()


def test_archive_of_ordinary_files_is_whole(client, folder):
    (folder / "LEFT-OUT.txt").write_text("a file of the trainer")

    content = client.get("/experiments/first/files.zip").data

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("LEFT-OUT.txt") == b"a file of the trainer"
        assert "run.json" in archive.namelist()


def test_part_of_a_sparse_file(client, folder):
    """A download is as long as its client asks for."""
    with (folder / "sparse.bin").open("wb") as sparse:
        sparse.truncate(2**43)
    headers = {"Range": "bytes=-5"}
    answer = client.get("/experiments/first/files/sparse.bin", headers=headers, buffered=True)

    assert (answer.status_code, answer.data) == (206, bytes(5))
