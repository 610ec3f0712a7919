"""What unit and API tests work on: the real app and store on SQLite, and a launcher that starts
nothing."""

import pytest

from backend.app import make_app
from backend.settings import Settings
from tests.fakes.launcher import FakeLauncher


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
