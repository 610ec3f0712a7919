"""Experiments side by side."""

import json
from urllib.parse import quote

import pytest

from backend.files import comparison


def submit(client, settings, experiment_id, losses, learning_rate="0.001"):
    form = {"learning_rate": learning_rate, "epoch": "20", "experiment_id": experiment_id}
    assert client.post("/test", data=form).status_code == 201
    with (settings.output_dir / experiment_id / "metrics.jsonl").open("w") as out:
        for epoch, loss in losses.items():
            out.write(json.dumps({"epoch": epoch, "loss": loss}) + "\n")


def test_two_experiments(client, settings):
    submit(client, settings, "a", {1: 3, 2: 1, 3: 2})
    submit(client, settings, "b", {1: 5, 3: 4, 4: float("nan")}, "0.01")
    answer = client.get("/compare?ids=b,a").json
    b, a = answer["experiments"]

    assert answer["epoch"] == [1, 2, 3, 4]
    assert (b["experiment_id"], b["learning_rate"], b["status"]) == ("b", 0.01, "queued")
    assert a["metrics"] == {"loss": [3, 1, 2, None]}
    assert b["metrics"] == {"loss": [5, None, 4, None]}
    assert a["points"] == b["points"] == 3
    assert a["final"] == {"loss": {"epoch": 3, "value": 2}}
    assert a["lowest"] == {"loss": {"epoch": 2, "value": 1}}
    assert a["highest"] == {"loss": {"epoch": 1, "value": 3}}
    assert b["final"] == {"loss": {"epoch": 3, "value": 4}}


def test_id_with_comma_and_empty_curve(client, settings):
    submit(client, settings, "a,b", {1: 1})
    submit(client, settings, "실험", {})
    answer = client.get(f"/compare?id=a%2Cb&id={quote('실험')}&id=a%2Cb").json

    assert [experiment["experiment_id"] for experiment in answer["experiments"]] == ["a,b", "실험"]
    assert answer["experiments"][1]["metrics"] == answer["experiments"][1]["final"] == {}


def test_long_curves_keep_their_extremes(client, settings):
    for number in range(3):
        losses = {epoch: 1 / epoch for epoch in range(1, 3001)} | {1000 + number: 9}
        submit(client, settings, f"run-{number}", losses)
    answer = client.get("/compare?ids=run-0,run-1,run-2&max_points=60").json

    assert len(answer["epoch"]) <= 60
    for number, experiment in enumerate(answer["experiments"]):
        assert experiment["highest"]["loss"] == {"epoch": 1000 + number, "value": 9}
        assert len(experiment["metrics"]["loss"]) == len(answer["epoch"])
        assert None not in experiment["metrics"]["loss"]


def test_a_hundred_experiments_are_bounded_together(client, settings, monkeypatch):
    """Every curve has extremes of its own, which would all become common epochs."""
    monkeypatch.setattr(comparison, "MAX_NUMBERS", 2000)
    names = [f"m{number}" for number in range(5)]
    ids = [f"run-{number}" for number in range(100)]
    for number, experiment_id in enumerate(ids):
        form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": experiment_id}
        assert client.post("/test", data=form).status_code == 201
        with (settings.output_dir / experiment_id / "metrics.jsonl").open("w") as out:
            for step in range(20):
                values = {name: (step * 7 + place) % 20 for place, name in enumerate(names)}
                out.write(json.dumps({"epoch": 1 + number / 100 + step} | values) + "\n")
    answer = client.get(f"/compare?ids={','.join(ids)}").json

    compared = answer["experiments"]
    assert [experiment["experiment_id"] for experiment in compared] == ids
    sent = sum(len(values) for each in compared for values in each["metrics"].values())
    assert sent + len(ids) * len(answer["epoch"]) <= 2000
    assert (answer["epoch"][0], answer["epoch"][-1]) == (1, 20.99)
    assert all(each["highest"]["m0"]["value"] == 19 for each in compared)


def test_unknown_ids_are_named(client, settings):
    submit(client, settings, "a", {})
    response = client.get("/compare?ids=a,none,neither")

    assert response.status_code == 404
    assert response.json["detail"] == "There is no experiment 'none', 'neither'."


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "ids"),
        ("ids=", "ids"),
        ("ids=" + ",".join(map(str, range(101))), "ids"),
        ("ids=a&max_points=1", "max_points"),
        ("ids=a&sort=b", "sort"),
    ],
)
def test_invalid_query(client, query, field):
    response = client.get(f"/compare?{query}")

    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == field
