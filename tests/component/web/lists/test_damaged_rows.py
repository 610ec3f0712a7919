"""One damaged row does not keep a list from showing the others, nor itself."""

import json
import sqlite3
from contextlib import closing

import pytest

from backend.launchers.base import Observation, Phase
from tests.component.support import FORM

TEXTS = (
    *("experiment_id", "uid", "model", "dataset", "status", "job", "reason", "message", "remedy"),
    *("model_parameters", "size", "entry_sha256", "image"),
)
TIMES = ("created_at", "updated_at", "started_at", "finished_at", "cancel_requested_at")
LISTS = (
    "/model",
    "/experiments?sort=updated_at",
    "/experiments?limit=2",
    "/experiments?limit=2&sort=-updated_at",
    "/experiments?sort=learning_rate&status=submitting&status=queued",
    "/experiments?sort=metrics.loss.last",
    "/experiments?where=epoch%3C30",
    "/experiments?q=r",
)


@pytest.fixture
def damage(client, settings):
    """Return a function that puts bytes that are no UTF-8 into a column of the second of three."""
    for name in ("first", "broken", "third"):
        assert client.post("/test", data=FORM | {"experiment_id": name}).status_code == 201

    def damage(column, content=b"r\xe9sum\xe9", table="experiment"):
        with closing(sqlite3.connect(settings.sqlite_path, isolation_level=None)) as database:
            key = "id" if table == "experiment" else "experiment"
            database.execute(
                f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {key} = 2", (content,)
            )

    return damage


@pytest.mark.parametrize("column", TEXTS + TIMES)
def test_list_shows_damaged_row(client, damage, column):
    damage(column)
    others = {"first", "third"}

    for address in LISTS:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        page = json.loads(answer.data)
        if "limit=2" in address and "next" in answer.headers.get("Link", ""):
            page += client.get(answer.headers["Link"][1:].partition(">")[0]).json
        shown = {one["experiment_id"] for one in page}
        if ("status" in address and column == "status") or "metrics" in address:
            continue
        assert others <= shown, address
    listed = {one["experiment_id"]: one for one in client.get("/model").json}
    assert len(listed) == 3
    (broken,) = (one for name, one in listed.items() if name not in others)
    assert broken["diagnosis"]["reason"] == "record_damaged"
    assert listed["first"]["diagnosis"] is None


@pytest.mark.parametrize("column", TEXTS + TIMES)
def test_other_reads_go_on(client, services, reconciler, damage, column):
    damage(column)

    for address in ("/ui", "/ui?sort=updated_at", "/metrics", "/experiments/first", "/readyz"):
        assert client.get(address).status_code == 200, address
    for kind in ("csv", "ndjson"):
        answer = client.get(f"/model?format={kind}")
        assert (answer.status_code, b"third" in answer.data) == (200, True)
    tag = client.get("/model").headers["ETag"]
    assert client.get("/model", headers={"If-None-Match": tag}).status_code == 304
    reconciler.reconcile()
    services.summaries.step(all_running=True)
    assert len(services.store.transitions.after(0, 100)) >= 6


@pytest.mark.parametrize("column", ["message", "image"])
def test_damaged_experiment_is_found_by_its_id(client, damage, column):
    damage(column)

    answer = client.get("/experiments/broken")
    assert answer.status_code == 200
    assert answer.json["diagnosis"]["reason"] == "record_damaged"


@pytest.mark.parametrize(
    ("table", "column"),
    [("metric_summaries", "content"), ("metric", "name"), ("transition", "reason")],
)
@pytest.mark.parametrize(
    "content", [b"\xff", b'{"loss": {"last": 1\xff}}', b'{"\xe9": {"last": 1}}', b'{"loss": ', b""]
)
def test_other_tables(client, services, experiments, damage, settings, table, column, content):
    (settings.output_dir / "broken" / "metrics.jsonl").write_text('{"epoch": 1, "loss": 0.5}\n')
    experiment = experiments.get("broken")
    services.recorder.record(experiment, Observation(experiment.uid, Phase.RUNNING))
    services.summaries.step(all_running=True)
    damage(column, content, table)

    addresses = ("/ui", "/ui?sort=metrics.loss.last", "/model", "/model?format=csv")
    for address in (*addresses, "/experiments/broken", "/ui/experiments/broken"):
        assert client.get(address).status_code == 200, address
    assert len(json.loads(client.get("/model").data)) == 3


@pytest.mark.parametrize("column", ["model_parameters", "tags"])
def test_damaged_json(client, damage, column):
    damage(column, b"{")

    assert {one["epoch"] for one in client.get("/model").json} == {20}
    assert client.get("/ui").status_code == 200
