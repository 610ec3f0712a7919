"""Databases are lost, with experiments in every state, and rebuilt."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.experiment import Experiment, Parameters, Transition, new_values
from backend.domain.status import Status
from backend.experiments import reconciler, run_file
from backend.experiments.rebuild import differences, rebuild
from backend.experiments.reconciler import Reconciler
from backend.launchers.base import Phase
from tests.integration.databases import Database
from tests.integration.launcher_harness import AN_ATTEMPT
from tests.integration.waiting import DEADLINE_SECONDS, eventually

FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}
PARAMETERS = Parameters("autoencoder", 0.001, 20, None)
STATES = ("submitting", "queued", "running", "succeeded", "failed", "cancelled", "retried")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(reconciler, "SUBMIT_GRACE", timedelta(0))


@pytest.fixture
def visible():
    """Return a function that returns all that a user can see of every experiment."""

    def look(app):
        client = app.test_client()
        ids = [one["experiment_id"] for one in client.get("/experiments").json]
        return {one: client.get(f"/experiments/{one}").json for one in ids}

    return look


def passes(app, number=1):
    one = Reconciler(app.extensions["services"], ttl_seconds=60)
    for _ in range(number):
        one.reconcile()


def parts(app):
    services = app.extensions["services"]
    return services.archive, services.launcher


def submit_in_every_state(app, kubernetes):
    """Submit an experiment for each of STATES, and one to be deleted; return their pods."""
    experiments, pods = app.extensions["services"].experiments, {}
    for name in (*STATES[1:], "deleted"):
        _, one = experiments.submit(name, PARAMETERS)
        if name != "queued":
            pods[name] = kubernetes.run(one.job)
    passes(app)
    for name, code in {"succeeded": 0, "failed": 2, "retried": 1, "deleted": 0}.items():
        kubernetes.finish(pods[name], code, "its last words")
    experiments.cancel("cancelled")
    passes(app)
    experiments.retry("retried")
    experiments.delete("deleted", outputs=False)
    kubernetes.stop()
    experiments.submit("submitting", PARAMETERS)
    kubernetes.start()
    return pods


@pytest.mark.usefixtures("impatient")
def test_lost_database_in_every_state(database, make_app, kubernetes, visible):
    before = make_app(database)
    pods = submit_in_every_state(before, kubernetes)
    told = visible(before)
    assert set(told) == set(STATES)
    database.drop_tables()

    after = make_app(database)
    archive, launcher = parts(after)
    lost = list(differences(archive, launcher))
    assert sum("is missing in the database" in one for one in lost) == len(STATES)
    rebuild(archive, launcher)
    assert list(differences(archive, launcher)) == []
    # The diagnosis of the waiting one is found again.
    why = {name: told["submitting"][name] for name in ("diagnosis", "updated_at")}
    assert visible(after) | {"submitting": visible(after)["submitting"] | why} == told
    assert list(visible(after)) == list(told)

    passes(after, 3)
    kubernetes.finish(pods["running"], 0)
    passes(after)
    ends = {name: one["status"] for name, one in visible(after).items()}
    assert ends == {name: name for name in STATES} | {
        "submitting": "queued",
        "running": "succeeded",
        "retried": "queued",
    }
    # One for each, one more for the retry, none for restored ones.
    assert kubernetes.count("create", "jobs") == len(STATES) + 2
    assert list(differences(archive, launcher)) == []


@pytest.mark.usefixtures("impatient")
def test_jobs_alone_are_enough(database, make_app, kubernetes, visible, settings):
    before = make_app(database)
    experiments = before.extensions["services"].experiments
    _, one = experiments.submit("first", Parameters("autoencoder", 0.25, 7, None))
    pod = kubernetes.run(one.job)
    database.drop_tables()
    (settings.output_dir / "first" / "run.json").unlink()

    after = make_app(database)
    passes(after, 3)
    kubernetes.finish(pod, 0)
    passes(after)

    seen = visible(after)["first"]
    assert (seen["learning_rate"], seen["epoch"], seen["status"]) == (0.25, 7, "succeeded")
    assert seen["history"][0]["reason"] == "adopted"
    assert kubernetes.count("create", "jobs") == 1


@pytest.mark.usefixtures("impatient")
def test_deleted_while_observed(database, make_app, kubernetes, visible):
    """The experiment does not come back: the list of Jobs is older than its deletion."""
    app = make_app(database)
    services = app.extensions["services"]
    experiments = services.experiments
    _, one = experiments.submit("first", PARAMETERS)
    kubernetes.finish(kubernetes.run(one.job), 0)
    passes(app)
    watching = Reconciler(services, ttl_seconds=60)
    observe = services.launcher.observe

    def look_and_be_overtaken(handles=None):
        seen = observe(handles)
        experiments.delete("first", outputs=True)
        return seen

    services.launcher.observe = look_and_be_overtaken
    watching.reconcile()
    services.launcher.observe = observe
    watching.reconcile()
    watching.reconcile()

    assert visible(app) == {}


def test_concurrent_rebuilds_and_submits(database, make_app, kubernetes, visible, settings):
    """The id is a unique key, so that each experiment is there once."""
    write_folders(settings.output_dir, 30)
    apps = [make_app(database) for _ in range(3)]
    together = threading.Barrier(3)

    def restore(app):
        together.wait(DEADLINE_SECONDS)
        return rebuild(*parts(app)).restored

    def submit(app):
        together.wait(DEADLINE_SECONDS)
        client = app.test_client()
        return [client.post("/test", data=FORM | {"experiment_id": f"new-{n}"}) for n in range(10)]

    with ThreadPoolExecutor(3) as pool:
        submitted = pool.submit(submit, apps[2])
        restored = list(pool.map(restore, apps[:2]))
        assert {one.status_code for one in submitted.result(DEADLINE_SECONDS)} == {201}

    assert len(visible(apps[0])) == 40
    assert 30 <= sum(restored) <= 40  # new ones too, if their run.json is found before their row
    rows = database.execute("SELECT experiment, COUNT(*) FROM transition GROUP BY experiment")
    assert sorted(count for _, count in rows) == [2] * 40


def write_folders(output_dir, number):
    """Write the folders of experiments that failed long ago, one each second."""
    for second in range(number):
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        name = f"run-{uuid.uuid4().hex}"
        values = new_values(name, PARAMETERS) | {"created_at": at, "updated_at": at}
        ended = {"status": Status.FAILED, "finished_at": at, "reason": "trainer_failed"}
        names = ("message", "remedy", "started_at", "cancel_requested_at", "cancel_requested_by")
        empty = dict.fromkeys(names)
        history = [
            Transition(1, None, Status.SUBMITTING, None, at),
            Transition(1, Status.SUBMITTING, Status.FAILED, "trainer_failed", at),
        ]
        record = run_file.render(Experiment(id=0, **values | ended | empty), history)
        (output_dir / name).mkdir()
        (output_dir / name / "run.json").write_text(json.dumps(record))


def test_killed_rebuild(backend, settings):
    number = 600
    write_folders(settings.output_dir, number)
    database = Database(f"sqlite:///{settings.data_dir}/experiments.sqlite3")

    def count():
        tables = database.tables() if settings.sqlite_path.exists() else []
        return "experiment" in tables and database.execute("SELECT COUNT(*) FROM experiment")[0][0]

    def is_killed_on_the_way():
        """Kill a rebuild that has begun, and return whether it had more to do."""
        database.drop_tables()
        process = backend("rebuild")
        eventually(count)
        process.kill()
        return count() < number

    eventually(is_killed_on_the_way)
    assert backend("rebuild --check").exit_code() == 1
    again = backend("rebuild")
    assert again.exit_code() == 0, again.stderr

    assert "known before" in again.stdout
    assert backend("rebuild --check").exit_code() == 0
    times = database.execute("SELECT created_at FROM experiment ORDER BY id")
    assert len(times) == number
    assert times == sorted(times)
    assert database.execute("SELECT COUNT(*) FROM transition")[0][0] == 2 * number


def lose_rows(settings):
    database = Database(f"sqlite:///{settings.sqlite_path}")
    database.execute("DELETE FROM transition")
    database.execute("DELETE FROM experiment")


def test_rebuild_beside_a_live_server(backend, harness, settings):
    """Local attempts are known again, and go on."""
    server = backend("serve").ready()
    assert server.ask("/test", FORM).status == 201
    attempt = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(attempt)
    server.reaches("first", "running")
    server.kill_all()
    lose_rows(settings)

    server = backend("serve").ready()
    process = backend("rebuild")
    assert process.exit_code() == 0, process.stderr
    server.reaches("first", "running")
    harness.end(attempt, 0)
    server.reaches("first", "succeeded")
    assert harness.starts(attempt) == 1


def test_live_server_adopts_local_attempt(backend, harness, settings):
    server = backend("serve").ready()
    assert server.ask("/test", FORM).status == 201
    attempt = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(attempt)
    server.reaches("first", "running")
    lose_rows(settings)

    eventually(lambda: server.ask("/experiments/first").status == 200)
    harness.end(attempt, 0)
    server.reaches("first", "succeeded")
    assert harness.launcher().observe()[attempt.handle].phase is Phase.SUCCEEDED


def test_check_names_differences(backend, settings):
    write_folders(settings.output_dir, 1)
    (name,) = (one.name for one in settings.output_dir.iterdir())
    check = backend("rebuild --check")

    assert check.exit_code() == 1
    assert check.stdout.splitlines() == [
        f"{name!r}: it is missing in the database; its run.json says failed",
        "1 difference(s) between the database, the folders and the Jobs",
    ]


def test_check_needs_rebuild(backend):
    process = backend("migrate --check")

    assert process.exit_code() == 2
    assert "python -m backend rebuild --check" in process.stderr


@pytest.mark.parametrize("role", ["rebuild", "rebuild --check"])
def test_database_outage_is_named(backend, role):
    process = backend(role, DB_URL="mysql://u:secret-word@127.0.0.1:1/runs")

    assert process.exit_code() == 2
    assert "error: The database does not answer" in process.stderr
    assert "Traceback" not in process.stderr
    assert "secret-word" not in process.stderr


def test_kubernetes_outage_is_named(backend, kubernetes, settings):
    write_folders(settings.output_dir, 1)
    kubernetes.stop()
    process = backend("rebuild", LAUNCHER="kubernetes")

    assert process.exit_code() == 2
    assert "error: The Kubernetes API server does not answer" in process.stderr
