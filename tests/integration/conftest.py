"""Real services for the tests: databases, and an API server for the official client."""

import os
import shutil
from contextlib import contextmanager

import pytest
from kubernetes.config import kube_config
from sqlalchemy import make_url

from backend import app
from backend.experiments.reconciler import Reconciler
from backend.launchers.kubernetes import launcher as kubernetes_launcher
from backend.settings import Settings
from backend.store.queries import Store
from tests.fakes.kubernetes_api import FakeKubernetes
from tests.integration.backend_process import Installation
from tests.integration.databases import Database, ExternalMySQL, LabMySQL, MariaDB
from tests.integration.launcher_harness import LocalHarness
from tests.integration.waiting import DEADLINE_SECONDS, eventually

MARIADB = pytest.param("mariadb", marks=pytest.mark.needs("mariadb"))
MYSQL = pytest.param("mysql", marks=pytest.mark.needs("mysql"))
MYSQL_CONTROL = pytest.param("mysql", marks=pytest.mark.needs("mysql_control"))


@pytest.fixture(scope="session")
def mariadb_server():
    server = MariaDB()
    yield server
    server.close()


@pytest.fixture(scope="session")
def mysql_server():
    lab, url = os.environ.get("LAB"), os.environ.get("TEST_MYSQL_URL")
    server = LabMySQL(lab) if lab else ExternalMySQL(url)
    yield server
    server.close()


@pytest.fixture
def mariadb(mariadb_server):
    """MariaDB, without experiments in its database."""
    with mariadb_server.emptied():
        yield mariadb_server


@pytest.fixture
def mysql(mysql_server):
    """MySQL, without experiments in its database."""
    with mysql_server.emptied():
        yield mysql_server


@pytest.fixture(params=[MARIADB, MYSQL_CONTROL])
def server(request):
    """Each database server, to be restarted or changed; no experiments in its database."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[MARIADB, MYSQL])
def server_database(request):
    """A database without experiments on each server."""
    return request.getfixturevalue(request.param).database


@pytest.fixture
def own_database(tmp_path, migrated_sqlite):
    """A database of SQLite without experiments."""
    path = shutil.copy(migrated_sqlite, tmp_path / "experiments.sqlite3")
    return Database(f"sqlite:///{path}")


@pytest.fixture(params=["sqlite", MARIADB, MYSQL])
def database(request):
    """A database of each kind without experiments."""
    if request.param == "sqlite":
        return request.getfixturevalue("own_database")
    return request.getfixturevalue(request.param).database


@pytest.fixture
def open_store():
    """Open a store, as each process does; all are closed at the end."""
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
    """The variables of a server whose folders are the test's own."""
    (tmp_path / "input").mkdir()
    (tmp_path / "output").mkdir()
    (tmp_path / "data").mkdir()
    return {
        "DATA_DIR": str(tmp_path / "data"),
        "INPUT_DIR": str(tmp_path / "input"),
        "OUTPUT_DIR": str(tmp_path / "output"),
        "AE_MODEL_IMAGE_URL": "localhost:5000/autoencoder:1",
        "LOCAL_SLOTS": "1",
    }


@pytest.fixture
def client(app):
    """A client of the app that a module of tests makes."""
    return app.test_client()


@pytest.fixture
def reconcile(app):
    """One pass of a reconciler beside that app."""
    return Reconciler(app.extensions["services"], ttl_seconds=60).reconcile


@pytest.fixture
def make_app(environ, kubernetes):
    """Create the app on a database, as each web worker does; its Jobs go to `kubernetes`."""
    apps = []

    def make(database):
        environment = environ | {"DB_URL": database.url, "LAUNCHER": "kubernetes"}
        apps.append(app.create_app(Settings.from_environment(environment)))
        return apps[-1]

    yield make
    for created in apps:
        created.extensions["services"].close()


@pytest.fixture
def installation(environ, tmp_path):
    """A copy of the program with a trainer of the tests; its processes are killed at the end."""
    installation = Installation(tmp_path / "installation", environ)
    yield installation
    installation.close()


@pytest.fixture
def backend(installation):
    """Start `python -m backend ROLE` as real processes; all are killed at the end."""
    return installation.start


@pytest.fixture
def settings(environ):
    return Settings.from_environment(environ)


@pytest.fixture
def harness(environ):
    """A harness of the local launcher, which holds the only slot until a test starts an attempt."""
    harness = LocalHarness(environ)
    yield harness
    harness.close()


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    """An API server, which the client finds as it would find any cluster."""
    monkeypatch.setattr(kubernetes_launcher, "TIMEOUT", (DEADLINE_SECONDS, DEADLINE_SECONDS))
    with FakeKubernetes() as server:
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        # The client reads KUBECONFIG when it is imported, for child processes set both.
        monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield server
    assert server.invalid == []


@pytest.fixture
def failing(kubernetes, monkeypatch):
    """Make requests of the API server fail within a `with`; an answer that hangs is given up soon.

    Only there, because a busy machine answers other requests late. The server has received the
    failing request at the end of the `with`, so that no later request meets the fault.
    """

    @contextmanager
    def failing(verb, resource, fault):
        received = kubernetes.count(verb, resource)
        kubernetes.fail(verb, resource, fault)
        with monkeypatch.context() as patch:
            if fault.hang:
                patch.setattr(kubernetes_launcher, "TIMEOUT", (DEADLINE_SECONDS, 3.0))
            yield
        eventually(lambda: kubernetes.count(verb, resource) > received)

    return failing
