"""Lists sorted and filtered by metrics and parameters."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from backend.launchers.base import Observation, Phase

DIGITS = Path(__file__).parents[4] / "input/digits.npz"
CURVES = {  # lowest val_loss: b, a, c; last: c, a, b
    "a": [0.9, 0.3, 0.4],
    "b": [0.8, 0.1, 0.9],
    "c": [0.7, 0.5, 0.35],
}


@pytest.fixture
def trained(client, services, experiments, settings):
    """Three experiments with curves that have ended, and one without any."""
    shutil.copy(DIGITS, settings.input_dir)
    for number, (name, curve) in enumerate(CURVES.items(), 1):
        submit(client, name, learning_rate=str(0.1**number), epoch="3")
        folder = services.outputs.folder(name)
        lines = [{"epoch": e, "val_loss": loss, "손실": -loss} for e, loss in enumerate(curve, 1)]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        end(services, experiments, name)
    submit(client, "d", dataset="digits.npz")
    services.summaries.step()


def submit(client, experiment_id, **fields):
    form = {"learning_rate": "0.001", "epoch": "20", "experiment_id": experiment_id} | fields
    assert client.post("/test", data=form).status_code == 201


def end(services, experiments, name, phase=Phase.SUCCEEDED):
    experiment = experiments.get(name)
    services.recorder.record(experiment, Observation(experiment.uid, phase))


def ids(client, query):
    response = client.get(f"/experiments?{query}")
    assert response.status_code == 200, response.text
    return "".join(experiment["experiment_id"] for experiment in response.json)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=metrics.val_loss.min", "bac"),
        ("sort=-metrics.val_loss.min", "cab"),
        ("sort=metrics.val_loss.last", "cab"),
        ("sort=-metrics.val_loss.max", "bac"),
        ("sort=metrics.%EC%86%90%EC%8B%A4.min", "abc"),
        ("sort=metrics.none.min", ""),
        ("sort=learning_rate&status=succeeded", "cba"),
        ("sort=-learning_rate&where=epoch=3", "abc"),
        ("sort=metrics.val_loss.min&status=succeeded,running", "bac"),
        ("sort=metrics.val_loss.min&where=learning_rate<0.05", "bc"),
        ("where=metrics.val_loss.min<0.35", "ba"),
        ("where=metrics.val_loss.min<0.4&where=metrics.val_loss.last>=0.5", "b"),
        ("where=metrics.val_loss.min<0.4 and metrics.val_loss.last>=0.5&where=epoch=3", "b"),
        ("where=metrics.val_loss.min!=0.1", "ca"),
        ("where=dataset=digits.npz", "d"),
        ("where=dataset=", "cba"),
        ("where=dataset!=digits.npz", "cba"),
        ("where=status!=succeeded", "d"),
        ("where=created_at>2000-01-01&where=learning_rate=.1", "a"),
        ("where=started_at<2000-01-01", ""),
        ("where=model = autoencoder&where=attempt<2&q=a", "a"),
    ],
)
def test_order_and_filters(client, query, expected):
    assert ids(client, query.replace(" ", "%20")) == expected


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    "sort", ["metrics.val_loss.min", "-metrics.val_loss.last", "learning_rate", "-epoch"]
)
def test_pages_of_every_order(client, sort):
    listed, path = "", f"/experiments?limit=1&sort={sort}&where=epoch%3C100"
    while path:
        response = client.get(path)
        listed += "".join(experiment["experiment_id"] for experiment in response.json)
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        path = link and link[1]

    assert listed == ids(client, f"sort={sort}")


@pytest.mark.usefixtures("trained")
def test_summaries_in_the_list(client):
    first = client.get("/experiments?sort=metrics.val_loss.min").json[0]

    assert first["metrics"]["val_loss"] == {
        **{"last": 0.9, "last_epoch": 3, "min": 0.1, "min_epoch": 2, "max": 0.9, "max_epoch": 3}
    }
    assert client.get("/experiments").json[0]["metrics"] == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate", "comparison"),
        ("learningrate<1", "unknown name at character 1, 'learningrate'"),
        ("learning_rate<abc", "'abc' at character 15"),
        ("learning_rate<1_0", "'1_0' at character 15"),
        ("learning_rate<inf", "number"),
        ("learning_rate=1e999", "number"),
        ("learning_rate==1", "number"),
        ("metrics.loss<1", "unknown name"),
        ("metrics.loss.min<", "number"),
        ("created_at>yesterday", "time such as"),
        ("created_at>0001-01-01", "time such as"),
        ("model<a", "only = and !="),
        ("status=done", "succeeded"),
        ("uid=x", "unknown name"),
        ("model=\0", "text"),
        ("1=1 or 1=1", "unknown name"),
        (f"model={'x' * 300}", "300 characters"),
    ],
)
def test_wrong_comparisons_are_explained(client, text, words):
    response = client.get(f"/experiments?where={quote(text)}")

    assert response.status_code == 422
    assert words in response.get_data(as_text=True).encode().decode("unicode_escape")


@pytest.mark.parametrize(
    "query",
    [
        "sort=metrics.loss",
        "sort=metrics..min",
        "sort=uid",
        "sort=metrics.a%00.min",
        f"sort=metrics.{'x' * 300}.min",
        "sort=learning_rate&after=2026-01-01T00:00:00.000000Z~1",
        "after=0.5~1",
        "sort=epoch&after=1e999~1",
        "&".join(["where=epoch=1"] * 21),
    ],
)
def test_wrong_orders_are_refused(client, query):
    assert client.get(f"/experiments?{query}").status_code == 422


@pytest.mark.usefixtures("trained")
def test_new_metrics_change_the_version(client, services, experiments):
    submit(client, "e")
    experiment = experiments.get("e")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.RUNNING))
    tag = client.get("/experiments").headers["ETag"]
    assert client.get("/experiments", headers={"If-None-Match": tag}).status_code == 304
    (services.outputs.folder("e") / "metrics.jsonl").write_text('{"epoch": 1, "val_loss": 0.01}\n')
    services.summaries.step(all_running=True)

    response = client.get("/experiments", headers={"If-None-Match": tag})
    assert response.status_code == 200
    assert response.json[0]["metrics"]["val_loss"]["min"] == 0.01
    assert ids(client, "sort=metrics.val_loss.min") == "ebac"


@pytest.mark.usefixtures("trained")
def test_deleted_experiments_leave_no_metrics(client, store):
    assert client.delete("/experiments/b").status_code == 204
    assert ids(client, "sort=metrics.val_loss.min") == "ac"


def test_experiments_of_an_older_version(client, services, experiments):
    """Those that ended before summaries existed are filled in."""
    for name in ("a", "b"):
        submit(client, name)
        (services.outputs.folder(name) / "metrics.jsonl").write_text('{"val_loss": 0.5}\n')
        end(services, experiments, name)
    services.summaries.step()  # begins after the last transition

    assert ids(client, "sort=metrics.val_loss.min") == "ab"


@pytest.mark.parametrize(
    "content", ["{}\n", "[]\n", '{"a": NaN}\n', '{"epoch": 1e308, "a": 1e308}\n', "\0" * 1000, ""]
)
def test_hostile_metrics(client, services, experiments, content):
    submit(client, "a")
    (services.outputs.folder("a") / "metrics.jsonl").write_text(content)
    end(services, experiments, "a")
    services.summaries.step()

    assert ids(client, "sort=-created_at") == "a"
