"""A database and an output folder that version 0.1.0 wrote go on working as they are."""

import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from backend.app import create_app
from backend.domain.execution.usage import PEAKS
from backend.experiments.rebuild import differences, rebuild
from backend.experiments.reconciler import Reconciler
from backend.settings import Settings

SAVED = Path(__file__).with_name("version_0_1")  # SQLite's dump, the folder, and GET /experiments


@pytest.fixture
def settings(tmp_path):
    """Settings of a machine that has the saved folder and database."""
    shutil.copytree(SAVED / "output", tmp_path / "output")
    for job in (tmp_path / "output" / ".local").glob("*/job.json"):
        job.write_text(
            job.read_text()
            .replace("@ROOT@", str(tmp_path))
            .replace("@PYTHON@", sys.executable)
            .replace("@CHECKOUT@", str(tmp_path / "nowhere"))
        )
    for folder in ("data", "input"):
        (tmp_path / folder).mkdir()
    with closing(sqlite3.connect(tmp_path / "data" / "experiments.sqlite3")) as database:
        database.executescript((SAVED / "experiments.sql").read_text())
    folders = {f"{name.upper()}_DIR": str(tmp_path / name) for name in ("data", "input", "output")}
    return Settings.from_environment(folders | {"LAUNCHER": "local"})


@pytest.fixture
def app(settings):
    app = create_app(settings)
    yield app
    app.extensions["services"].close()


def saved_experiments():
    """Return what version 0.1.0 listed, with the members that were added since."""
    saved = json.loads((SAVED / "experiments.json").read_text())
    added = dict.fromkeys(("size", "image", "entry_sha256", "by"))
    added |= {"tags": [], "favourite": False, "revision": 0, "sweep_id": None, "trial": None}
    added |= {"priority": "normal"} | dict.fromkeys(PEAKS)
    return [
        one | added | {"parameters": {name: one[name] for name in ("learning_rate", "epoch")}}
        for one in saved
    ]


def listed(client):
    """Return the list without the member that version 0.1.0 did not have."""
    return [
        {name: value for name, value in experiment.items() if name != "metrics"}
        for experiment in client.get("/experiments").json
    ]


def test_list_is_the_same(client):
    assert listed(client) == saved_experiments()


def test_metrics_are_filled_in(client, services):
    services.summaries.step()
    best = client.get("/experiments?sort=metrics.val_loss.min").json

    assert "first" in [experiment["experiment_id"] for experiment in best]
    assert all(experiment["metrics"]["val_loss"]["min_epoch"] >= 1 for experiment in best)


def test_reconciler_changes_nothing(client, services):
    Reconciler(services, ttl_seconds=60 * 60 * 24 * 365 * 100).reconcile()

    assert listed(client) == saved_experiments()


def test_details_logs_and_curves(client):
    detail = client.get("/experiments/first").json
    curve = client.get("/experiments/first/metrics").json
    log = client.get("/experiments/retried/logs?attempt=1")

    assert [step["to_status"] for step in detail["history"]][-2:] == ["running", "succeeded"]
    assert detail["progress"] == {"epoch": 3, "epochs": 3}
    assert curve["epoch"] == [1, 2, 3]
    assert log.data
    assert client.get("/experiments/실험 1/files").json


def test_database_and_folders_agree(services):
    assert list(differences(services.archive, services.launcher)) == []


def test_rebuild_restores_all(client, services, settings):
    """A deleted experiment whose folder was kept stays deleted."""
    with closing(sqlite3.connect(settings.sqlite_path, isolation_level=None)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("DELETE FROM experiment")
    summary = rebuild(services.archive, services.launcher)

    assert (summary.restored, summary.deleted, summary.skipped) == (5, 1, 0)
    shown = {experiment["experiment_id"]: experiment for experiment in listed(client)}
    for saved in saved_experiments():
        assert shown[saved["experiment_id"]] == saved


def test_retry_begins_next_attempt(client, services):
    answer = client.post("/experiments/retried/retry")
    client.post("/experiments/retried/cancel")

    assert answer.status_code == 202
    assert answer.json["attempt"] == 3
    assert answer.json["job"] == "autoencoder-retried-yaww3rf4mtis-3"
