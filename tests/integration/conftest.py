"""Real services for the tests: databases, and an API server for the official client."""

import os
import shutil

import pytest
from kubernetes.config import kube_config
from sqlalchemy import make_url

from backend import app
from backend.settings import Settings
from backend.store.queries import Store
from tests.fakes.kubernetes_api import FakeKubernetes
from tests.integration.backend_process import House
from tests.integration.databases import ROOT_PATH, Database, KitMySQL, MariaDB


@pytest.fixture(scope="session")
def mariadb_server():
    if shutil.which("mariadbd", path=ROOT_PATH) is None:
        pytest.skip("mariadbd is not installed (tools/install-test-services.sh installs it)")
    server = MariaDB()
    yield server
    server.close()


@pytest.fixture(scope="session")
def mysql_server():
    if not os.environ.get("LAB"):
        pytest.skip("LAB names no kit with a MySQL server")
    return KitMySQL(os.environ["LAB"])


@pytest.fixture
def mariadb(mariadb_server):
    """Give MariaDB, its database empty."""
    with mariadb_server.emptied():
        yield mariadb_server


@pytest.fixture
def mysql(mysql_server):
    """Give MySQL, its database empty."""
    with mysql_server.emptied():
        yield mysql_server


@pytest.fixture(params=["mariadb", "mysql"])
def server(request):
    """Give each database server, its database empty."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["sqlite", "mariadb", "mysql"])
def database(request, tmp_path):
    """Give an empty database of each kind."""
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path}/experiments.sqlite3")
    return request.getfixturevalue(request.param).database


@pytest.fixture
def open_store():
    """Open a store as a process does; all are closed at the end."""
    stores = []

    def open_store(database, **options):
        stores.append(Store(make_url(database.url), **options))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(database, open_store):
    return open_store(database)


@pytest.fixture
def environ(tmp_path):
    """Give the variables of a server whose folders are the test's own."""
    (tmp_path / "input").mkdir()
    (tmp_path / "output").mkdir()
    (tmp_path / "data").mkdir()
    return {
        "DATA_DIR": str(tmp_path / "data"),
        "INPUT_DIR": str(tmp_path / "input"),
        "OUTPUT_DIR": str(tmp_path / "output"),
        "AE_MODEL_IMAGE_URL": "localhost:5000/autoencoder:1",
    }


@pytest.fixture
def make_app(environ, kubernetes):
    """Make the real app on a database, as each web worker does; its Jobs go to `kubernetes`."""
    apps = []

    def make(database):
        environment = environ | {"DB_URL": database.url, "LAUNCHER": "kubernetes"}
        apps.append(app.create_app(Settings.from_environment(environment)))
        return apps[-1]

    yield make
    for one in apps:
        one.extensions["services"].close()


@pytest.fixture
def backend(environ, tmp_path):
    """Start `python -m backend ROLE` as real processes; all are gone at the end."""
    house = House(tmp_path / "house", environ)
    yield house.start
    house.close()


@pytest.fixture
def settings(environ):
    return Settings.from_environment(environ)


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    """Give an API server; the client finds it as it would find any cluster."""
    with FakeKubernetes() as server:
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        # The client reads KUBECONFIG when it is imported, for child processes set both.
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield server
    assert server.invalid == []
