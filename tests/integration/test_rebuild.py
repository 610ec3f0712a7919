"""Real databases are lost, in every state that a run can be in, and made right again."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backend.domain.experiment import Experiment, Transition, new_values
from backend.domain.status import Status
from backend.experiments import reconciler, run_file
from backend.experiments.rebuild import differences, rebuild
from backend.experiments.reconciler import Reconciler
from backend.experiments.service import Parameters
from backend.launchers.base import Phase
from tests.integration.databases import Database
from tests.integration.launcher_harness import AN_ATTEMPT, LocalHarness
from tests.integration.waiting import DEADLINE_SECONDS, eventually

FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}
PARAMETERS = Parameters("autoencoder", 0.001, 20, None)
STATES = ("submitting", "queued", "running", "succeeded", "failed", "cancelled", "retried")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(reconciler, "SUBMIT_GRACE", timedelta(0))


@pytest.fixture
def everything():
    """Give all that a user can see of all runs."""

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
    """Submit a run for each of STATES, and one that is forgotten; give their pods."""
    experiments, pods = app.extensions["services"].experiments, {}
    for name in (*STATES[1:], "forgotten"):
        _, one = experiments.submit(name, PARAMETERS)
        if name != "queued":
            pods[name] = kubernetes.run(one.job)
    passes(app)
    for name, code in {"succeeded": 0, "failed": 2, "retried": 1, "forgotten": 0}.items():
        kubernetes.finish(pods[name], code, "its last words")
    experiments.cancel("cancelled")
    passes(app)
    experiments.retry("retried")
    experiments.delete("forgotten", outputs=False)
    kubernetes.stop()
    experiments.submit("submitting", PARAMETERS)
    kubernetes.start()
    return pods


@pytest.mark.usefixtures("impatient")
def test_a_lost_database_is_made_right_in_every_state(database, make_app, kubernetes, everything):
    before = make_app(database)
    pods = submit_in_every_state(before, kubernetes)
    told = everything(before)
    assert set(told) == set(STATES)
    database.drop_tables()

    after = make_app(database)
    archive, launcher = parts(after)
    lost = list(differences(archive, launcher))
    assert sum("is missing in the database" in one for one in lost) == len(STATES)
    rebuild(archive, launcher)
    assert list(differences(archive, launcher)) == []
    # Why it waits is found out anew.
    why = {name: told["submitting"][name] for name in ("diagnosis", "updated_at")}
    assert everything(after) | {"submitting": everything(after)["submitting"] | why} == told
    assert list(everything(after)) == list(told)

    passes(after, 3)
    kubernetes.finish(pods["running"], 0)
    passes(after)
    ends = {name: one["status"] for name, one in everything(after).items()}
    assert ends == {name: name for name in STATES} | {
        "submitting": "queued",
        "running": "succeeded",
        "retried": "queued",
    }
    # One for each, one more for the retry, none for what was restored.
    assert kubernetes.count("create", "jobs") == len(STATES) + 2
    assert list(differences(archive, launcher)) == []


@pytest.mark.usefixtures("impatient")
def test_jobs_alone_make_their_runs_known(database, make_app, kubernetes, everything, settings):
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

    seen = everything(after)["first"]
    assert (seen["learning_rate"], seen["epoch"], seen["status"]) == (0.25, 7, "succeeded")
    assert seen["history"][0]["reason"] == "adopted"
    assert kubernetes.count("create", "jobs") == 1


@pytest.mark.usefixtures("impatient")
def test_a_run_that_is_deleted_while_it_is_looked_at_does_not_come_back(
    database, make_app, kubernetes, everything
):
    """The list of Jobs is older than the deletion of its Job, and of its row."""
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

    assert everything(app) == {}


def test_of_two_that_restore_and_one_that_submits_each_run_is_there_once(
    database, make_app, kubernetes, everything, settings
):
    """The slot of a run is taken by a unique key; whoever comes second finds it there."""
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

    assert len(everything(apps[0])) == 40
    assert 30 <= sum(restored) <= 40  # a new run whose row was there before its file is not one
    rows = database.execute("SELECT experiment, COUNT(*) FROM transition GROUP BY experiment")
    assert sorted(count for _, count in rows) == [2] * 40


def write_folders(output_dir, number):
    """Write the folders of runs that have failed long ago, one a second."""
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


def test_a_rebuild_that_is_killed_is_run_again(backend, settings):
    number = 600
    write_folders(settings.output_dir, number)
    database = Database(f"sqlite:///{settings.data_dir}/experiments.sqlite3")

    def count():
        tables = database.tables() if settings.sqlite_path.exists() else []
        return "experiment" in tables and database.execute("SELECT COUNT(*) FROM experiment")[0][0]

    def is_killed_on_the_way():
        """Kill a rebuild that has begun, and return whether it was not through yet."""
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


@pytest.fixture
def harness(environ):
    """Hold the one slot until a test lets its run start."""
    harness = LocalHarness(environ)
    yield harness
    harness.close()


def lose_rows(settings):
    database = Database(f"sqlite:///{settings.sqlite_path}")
    database.execute("DELETE FROM transition")
    database.execute("DELETE FROM experiment")


def test_beside_a_live_server_local_runs_come_back_and_go_on(backend, harness, settings):
    server = backend("serve").ready()
    assert server.ask("/test", FORM).status == 201
    run = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(run)
    server.reaches("first", "running")
    server.kill_all()
    lose_rows(settings)

    server = backend("serve").ready()
    process = backend("rebuild")
    assert process.exit_code() == 0, process.stderr
    server.reaches("first", "running")
    harness.end(run, 0)
    server.reaches("first", "succeeded")
    assert harness.starts(run) == 1


def test_a_live_server_adopts_a_local_run_by_itself(backend, harness, settings):
    server = backend("serve").ready()
    assert server.ask("/test", FORM).status == 201
    run = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(run)
    server.reaches("first", "running")
    lose_rows(settings)

    eventually(lambda: server.ask("/experiments/first").status == 200)
    harness.end(run, 0)
    server.reaches("first", "succeeded")
    assert harness.launcher().observe()[run.handle].phase is Phase.SUCCEEDED


def test_check_names_what_differs_and_its_exit_code_tells(backend, settings):
    write_folders(settings.output_dir, 1)
    (name,) = (one.name for one in settings.output_dir.iterdir())
    check = backend("rebuild --check")

    assert check.exit_code() == 1
    assert check.stdout.splitlines() == [
        f"{name!r}: it is missing in the database; its run.json says failed",
        "1 difference(s) between the database, the folders and the Jobs",
    ]


def test_check_goes_with_rebuild_alone(backend):
    process = backend("migrate --check")

    assert process.exit_code() == 2
    assert "python -m backend rebuild --check" in process.stderr


@pytest.mark.parametrize("role", ["rebuild", "rebuild --check"])
def test_a_database_that_is_away_is_named(backend, role):
    process = backend(role, DB_URL="mysql://u:secret-word@127.0.0.1:1/runs")

    assert process.exit_code() == 2
    assert "error: The database does not answer" in process.stderr
    assert "Traceback" not in process.stderr
    assert "secret-word" not in process.stderr


def test_jobs_that_cannot_be_seen_are_named(backend, kubernetes, settings):
    write_folders(settings.output_dir, 1)
    kubernetes.stop()
    process = backend("rebuild", LAUNCHER="kubernetes")

    assert process.exit_code() == 2
    assert "error: The Kubernetes API server does not answer" in process.stderr
