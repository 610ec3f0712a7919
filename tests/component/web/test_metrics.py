"""The curve of an experiment."""

import pytest

from backend.launchers.base import Observation, Phase
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
    assert response.json == {
        "experiment_id": "first",
        "attempt": 1,
        "status": "queued",
        "points": 2,
        "epoch": [1, 2],
        "metrics": {"loss": [0.5, None], "val_loss": [None, 0.25]},
    }


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
