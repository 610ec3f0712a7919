"""Fixtures of the component tests: the app and the store on SQLite, and a launcher that starts
nothing."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.app import create_app
from backend.experiments import reconciler as reconciler_module
from backend.experiments.reconciler import Reconciler
from backend.launchers.base import Observation
from backend.settings import Settings
from tests.component.support import ALICE, BOB, PARAMETERS
from tests.fakes.launcher import FakeLauncher


@pytest.fixture
def settings(tmp_path):
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    return Settings.from_environment(
        {
            "DATA_DIR": str(tmp_path / "data"),
            "INPUT_DIR": str(tmp_path / "input"),
            "OUTPUT_DIR": str(tmp_path / "output"),
            "AE_MODEL_IMAGE_URL": "localhost:5000/autoencoder:1",
        }
    )


@pytest.fixture
def launcher():
    return FakeLauncher()


@pytest.fixture
def app(settings, launcher, migrated_sqlite):
    settings.data_dir.mkdir()
    shutil.copy(migrated_sqlite, settings.sqlite_path)
    app = create_app(settings, launcher)
    yield app
    app.extensions["services"].close()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def services(app):
    return app.extensions["services"]


@pytest.fixture
def experiments(services):
    return services.experiments


@pytest.fixture
def store(services):
    return services.store


@pytest.fixture
def archive(services):
    return services.archive


@pytest.fixture
def reconciler(services, launcher, monkeypatch):
    monkeypatch.setattr(reconciler_module, "SUBMIT_GRACE", timedelta(0))
    return Reconciler(services, ttl_seconds=60)


@pytest.fixture
def delete_rows(settings):
    """Return a function that deletes the rows of one experiment, or of all."""

    def delete_rows(experiment_id=None):
        with closing(sqlite3.connect(settings.sqlite_path, isolation_level=None)) as database:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute(
                "DELETE FROM experiment WHERE experiment_id = coalesce(?, experiment_id)",
                (experiment_id,),
            )
            if experiment_id is None:
                database.execute("DELETE FROM model_entries")

    return delete_rows


@pytest.fixture
def make_experiment(services, experiments, launcher):
    """Return a function that submits an experiment and brings it to a status."""

    def make(experiment_id, *phases):
        experiments.submit(experiment_id, PARAMETERS)
        for phase in phases:
            experiment = experiments.get(experiment_id)
            observed = Observation(experiment.uid, phase, attempt=experiment.current_attempt)
            launcher.jobs[experiment.job] = observed
            services.recorder.record(experiment, observed)
        return experiments.get(experiment_id)

    return make


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"alice:{ALICE}\nro:bob:{BOB}\n")
    return path


@pytest.fixture
def protected_app(settings, launcher, token_file, migrated_sqlite):
    """The app with tokens."""
    settings.data_dir.mkdir(exist_ok=True)
    if not settings.sqlite_path.exists():
        shutil.copy(migrated_sqlite, settings.sqlite_path)
    app = create_app(replace(settings, api_token_file=token_file), launcher)
    yield app
    app.extensions["services"].close()


@pytest.fixture
def anonymous(protected_app):
    """A client without a token."""
    return protected_app.test_client()


@pytest.fixture
def signed_in(protected_app):
    """The client of a browser that is signed in as alice."""
    client = protected_app.test_client()
    assert client.post("/ui/login", data={"token": ALICE}).status_code == 303
    return client
