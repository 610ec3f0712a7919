"""What unit and API tests work on: the real app and store on SQLite, and a launcher that starts
nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from backend import reconciler as reconciler_module
from backend.app import make_app
from backend.launchers.base import Observation
from backend.reconciler import Reconciler
from backend.records import Parameters
from backend.settings import Settings
from backend.store.tables import experiment as table
from tests.api.kit import ALICE, BOB
from tests.fakes.launcher import FakeLauncher

PARAMETERS = Parameters("autoencoder", 0.001, 20, None)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "input").mkdir()
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
def app(settings, launcher):
    settings.data_dir.mkdir()
    app = make_app(settings, launcher)
    yield app
    app.extensions["experiments"].close()


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def experiments(app):
    return app.extensions["experiments"]


@pytest.fixture
def store(experiments):
    return experiments._store


@pytest.fixture
def archive(experiments):
    return experiments.archive


@pytest.fixture
def reconciler(experiments, launcher, monkeypatch):
    monkeypatch.setattr(reconciler_module, "SUBMIT_GRACE", timedelta(0))
    return Reconciler(experiments, launcher, ttl_seconds=60)


@pytest.fixture
def lose(store):
    """Lose every row, or one."""

    def lose(experiment_id=None):
        statement = table.delete()
        if experiment_id:
            statement = statement.where(table.c.experiment_id == experiment_id)
        store._write(lambda connection: connection.execute(statement))

    return lose


@pytest.fixture
def made(experiments, launcher):
    """Bring a run to a status."""

    def make(experiment_id, *phases):
        experiments.submit(experiment_id, PARAMETERS)
        for phase in phases:
            one = experiments.get(experiment_id)
            seen = Observation(one.uid, phase, run=one.run)
            launcher.jobs[one.job] = seen
            experiments.recorder.record(one, seen)
        return experiments.get(experiment_id)

    return make


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"alice:{ALICE}\nro:bob:{BOB}\n")
    return path


@pytest.fixture
def guarded(settings, launcher, token_file):
    """The app with tokens set."""
    settings.data_dir.mkdir(exist_ok=True)
    app = make_app(replace(settings, api_token_file=token_file), launcher)
    yield app
    app.extensions["experiments"].close()


@pytest.fixture
def guest(guarded):
    return guarded.test_client()


@pytest.fixture
def browser(guarded):
    """A browser that is signed in as alice."""
    client = guarded.test_client()
    assert client.post("/ui/login", data={"token": ALICE}).status_code == 303
    return client
