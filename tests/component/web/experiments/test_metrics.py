"""The curve of an experiment."""

import json
from datetime import datetime

import pytest

from backend.launchers.base import Observation, Phase
from backend.web.views import presentation
from tests.component.support import FORM

PATH = "/experiments/first/metrics"


@pytest.fixture
def file(client, settings):
    client.post("/test", data=FORM)
    file = settings.output_dir / "first" / "metrics.jsonl"
    file.write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": NaN, "val_loss": 0.25}\n')
    return file


def test_curve(client, file):
    response = client.get(PATH)

    assert response.content_type == "application/json"
    answer = response.json
    written = datetime.fromisoformat(answer.pop("written_at"))
    assert written.timestamp() == pytest.approx(file.stat().st_mtime, abs=1e-5)
    assert answer == {
        "experiment_id": "first",
        "attempt": 1,
        "status": "queued",
        "points": 2,
        "epoch": [1, 2],
        "metrics": {"loss": [0.5, None], "val_loss": [None, 0.25]},
    }


def test_seconds_are_summed_up(client, file):
    assert "elapsed" not in client.get(PATH).json
    file.write_text('{"epoch": 1, "seconds": 0.5}\n{"epoch": 2, "seconds": 2}\n')

    assert client.get(PATH).json["elapsed"] == [0.5, 2.5]
    assert client.get(f"{PATH}?since_epoch=1").json["elapsed"] == [2.5]


def test_part_of_a_curve(client, file):
    file.write_text("".join(f'{{"epoch": {n}, "loss": {n % 7}}}\n' for n in range(1, 101)))

    assert client.get(f"{PATH}?since_epoch=98").json["epoch"] == [99, 100]
    assert client.get(f"{PATH}?since_epoch=98").json["points"] == 100
    coarse = client.get(f"{PATH}?max_points=20").json
    assert len(coarse["epoch"]) <= 20
    assert (coarse["epoch"][0], coarse["epoch"][-1]) == (1, 100)


def test_not_modified(services, client, file, experiments):
    etag = client.get(PATH).headers["ETag"]
    unchanged = client.get(PATH, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.data) == (304, b"")

    with file.open("a") as out:
        out.write('{"epoch": 3, "loss": 0.1}\n')
    longer = client.get(PATH, headers={"If-None-Match": etag})
    assert longer.json["epoch"] == [1, 2, 3]

    first = experiments.get("first")
    services.recorder.record(first, Observation(first.uid, Phase.SUCCEEDED))
    ended = client.get(PATH, headers={"If-None-Match": longer.headers["ETag"]})
    assert ended.json["status"] == "succeeded"


def test_no_curve_yet(client, file):
    file.unlink()
    response = client.get(PATH)

    assert response.json["epoch"] == []
    assert response.json["metrics"] == {}


def test_unknown_experiment(client):
    assert client.get("/experiments/none/metrics").status_code == 404


@pytest.mark.parametrize(
    "query", ["since_epoch=x", "since_epoch=-2", "max_points=1", "max_points=100001", "points=3"]
)
def test_invalid_query(client, file, query):
    response = client.get(f"{PATH}?{query}")

    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == query.partition("=")[0]


def test_metrics_left_out_are_named(client, file):
    names = [f"metric {number}" for number in range(40)]
    file.write_text(json.dumps({"epoch": 1} | dict.fromkeys(names, 1)) + "\n")
    answer = client.get(PATH).json

    assert list(answer["metrics"]) == names[:32]
    assert answer["left_out"] == names[32:]


def test_incomplete_curve_is_said(client, file, monkeypatch):
    """A file that is too long for one request is read by several, none of which has an ETag."""
    monkeypatch.setattr("backend.files.curves.MAX_READ_BYTES", 1)
    monkeypatch.setattr("backend.files.curves.LARGE_PIECE_BYTES", 50)
    first = client.get(PATH)

    assert first.json["complete"] is False
    assert "ETag" not in first.headers
    for _ in range(5):
        last = client.get(PATH)
    assert last.json["epoch"] == [1, 2]
    assert "complete" not in last.json
    assert "ETag" in last.headers


def test_last_line_without_its_end(services, client, file, experiments):
    file.write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2.5, "loss": 0.25}')
    assert client.get(PATH).json["epoch"] == [1]
    first = experiments.get("first")
    services.recorder.record(first, Observation(first.uid, Phase.FAILED))

    assert client.get(PATH).json["epoch"] == [1, 2.5]
    assert client.get(f"{PATH}?since_epoch=1.5").json["epoch"] == [2.5]
    assert client.get("/experiments/first").json["metrics"] == {"epoch": 2.5, "loss": 0.25}
    assert client.get("/experiments/first").json["progress"]["epoch"] == 2


@pytest.mark.parametrize(
    "row",
    [
        '{"epoch": 1, "seconds": 1e308, "loss": 1e308}\n'
        '{"epoch": 2, "seconds": 1e308, "loss": -1e308}',
        '{"epoch": 1e18, "loss": 1}\n{"epoch": 1e308, "loss": -1e308}',
        '{"epoch": -1e308, "seconds": -1e308}\n{"epoch": 0.5}',
    ],
)
def test_extreme_numbers_are_shown(services, client, file, experiments, row):
    file.write_text(row + "\n")
    first = experiments.get("first")
    services.recorder.record(first, Observation(first.uid, Phase.RUNNING))

    for path in ("/ui", "/ui/experiments/first", "/experiments/first", "/compare?id=first", PATH):
        assert client.get(path).status_code == 200, path


def test_row_that_cannot_be_shown(client, file, monkeypatch):
    """One experiment that cannot be shown is shown as such, and the others as they are."""
    client.post("/test", data=FORM | {"experiment_id": "second"})
    summary = presentation.summary

    def fail(experiment, *curves):
        if experiment.experiment_id == "first":
            raise OverflowError
        return summary(experiment, *curves)

    monkeypatch.setattr(presentation, "summary", fail)
    page = client.get("/ui")

    assert page.status_code == 200
    assert page.text.count("Its results cannot be shown.") == 1
    assert 'aria-label="Select second"' in page.text


def test_comparison_is_bounded(client, settings, monkeypatch):
    """Curves without a common epoch cannot make an answer of hundreds of megabytes."""
    monkeypatch.setattr("backend.files.comparison.MAX_NUMBERS", 5000)
    for number in range(10):
        name = f"run-{number}"
        client.post("/test", data=FORM | {"experiment_id": name})
        rows = [{"epoch": 10 * n + number, "a": n % 7, "b": n % 3} for n in range(500)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (settings.output_dir / name / "metrics.jsonl").write_text(lines)
    ids = ",".join(f"run-{number}" for number in range(10))
    answer = client.get(f"/compare?ids={ids}&max_points=100000").json
    columns = [column for one in answer["experiments"] for column in one["metrics"].values()]

    assert sum(map(len, columns)) <= 5000
    assert all(one["highest"]["a"]["value"] == 6 for one in answer["experiments"])
