"""What unit and API tests work on: the real app and store on SQLite, and a launcher that starts
nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from backend.app import create_app
from backend.domain.experiment import Parameters
from backend.experiments import reconciler as reconciler_module
from backend.experiments.reconciler import Reconciler
from backend.launchers.base import Observation
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
def lose(store):
    """Lose every row, or one."""

    def lose(experiment_id=None):
        statement = table.delete()
        if experiment_id:
            statement = statement.where(table.c.experiment_id == experiment_id)
        store.database.write(lambda connection: connection.execute(statement))

    return lose


@pytest.fixture
def made(services, experiments, launcher):
    """Bring a run to a status."""

    def make(experiment_id, *phases):
        experiments.submit(experiment_id, PARAMETERS)
        for phase in phases:
            one = experiments.get(experiment_id)
            seen = Observation(one.uid, phase, attempt=one.current_attempt)
            launcher.jobs[one.job] = seen
            services.recorder.record(one, seen)
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
    app = create_app(replace(settings, api_token_file=token_file), launcher)
    yield app
    app.extensions["services"].close()


@pytest.fixture
def guest(guarded):
    return guarded.test_client()


@pytest.fixture
def browser(guarded):
    """A browser that is signed in as alice."""
    client = guarded.test_client()
    assert client.post("/ui/login", data={"token": ALICE}).status_code == 303
    return client
