"""`python -m backend` as its users have it: on one machine, with SQLite and local runs."""

import os
import signal
import socket
from dataclasses import replace

import pytest

from backend.launchers.base import Phase
from tests.integration.backend_process import children_of, free_address
from tests.integration.databases import Database
from tests.integration.launcher_harness import AN_ATTEMPT, LocalHarness
from tests.integration.waiting import eventually

WORKERS = 2  # gunicorn.conf.py
FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}


@pytest.fixture
def harness(environ):
    """Hold the one slot until a test lets its run start."""
    harness = LocalHarness(environ)
    yield harness
    harness.close()


@pytest.fixture
def serve(backend):
    def start(**variables):
        return backend("serve", **variables).ready()

    return start


def submit(server, harness):
    """POST a run, let it train, and give it as the launcher knows it."""
    answer = server.ask("/test", FORM)
    assert (answer.status, answer.json["message"]) == (201, "Job Created")
    run = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(run)
    return run


def all_processes(server):
    """Return the ids of the web role and of its workers; None while one is not started yet."""
    web, workers = server.web_processes()
    return (web, workers) if len(workers) == WORKERS else None


def test_it_works_from_the_form_to_the_end(serve, harness):
    server = serve()
    assert server.ask("/").content == b"Hello Flask!"
    run = submit(server, harness)
    server.reaches("first", "running")

    harness.end(run, 0)

    ended = server.reaches("first", "succeeded")
    steps = [step["to_status"] for step in ended["history"]]
    assert steps == ["submitting", "queued", "running", "succeeded"]
    assert [one["experiment_id"] for one in server.ask("/model").json] == ["first"]


def test_a_failed_run_says_why(serve, harness):
    server = serve()
    run = submit(server, harness)

    harness.end(run, 2, "error: there is no data")

    diagnosis = server.reaches("first", "failed")["diagnosis"]
    assert diagnosis["reason"] == "input_unusable"
    assert "error: there is no data" in diagnosis["message"]


def test_ctrl_c_leaves_a_training_running_and_the_next_server_sees_its_end(serve, harness):
    server = serve()
    run = submit(server, harness)
    server.reaches("first", "running")

    server.press_ctrl_c()

    assert server.exit_code() == 0
    assert "1 experiment(s)" in server.stdout
    assert "python -m backend serve" in server.stdout
    assert "Traceback" not in server.stderr
    assert harness.launcher().observe()[run.handle].phase is Phase.RUNNING
    server = serve()
    server.reaches("first", "running")
    harness.end(run, 0)
    server.reaches("first", "succeeded")
    assert harness.starts(run) == 1


def test_a_run_that_ends_while_nobody_serves_is_recorded_later(serve, harness):
    server = serve()
    run = submit(server, harness)
    server.reaches("first", "running")
    server.terminate()
    assert server.exit_code() == 0

    harness.end(run, 0)

    serve().reaches("first", "succeeded")


@pytest.mark.parametrize("role", ["serve", "web", "reconcile"])
def test_sigterm_ends_it_cleanly(backend, role):
    health = free_address()
    server = backend(role, HEALTH_BIND=health if role == "reconcile" else "")
    if role == "reconcile":
        server.address = health
    server.ready()

    server.terminate()

    assert server.exit_code() == 0
    assert "Traceback" not in server.stderr
    eventually(lambda: not server.group())
    with socket.create_server(("127.0.0.1", int(server.address.rpartition(":")[2]))):
        pass  # its address is free


def test_a_killed_worker_is_replaced(serve, harness):
    server = serve()
    run = submit(server, harness)
    web, workers = eventually(lambda: all_processes(server))

    for worker in workers:
        os.kill(worker, signal.SIGKILL)

    eventually(lambda: len(set(children_of(web)) - set(workers)) == len(workers))
    server.ready()
    harness.end(run, 0)
    server.reaches("first", "succeeded")


def test_a_killed_reconciler_is_replaced(serve, harness):
    server = serve()
    run = submit(server, harness)
    server.reaches("first", "running")

    os.kill(server.reconciler(), signal.SIGKILL)
    harness.end(run, 0)

    server.reaches("first", "succeeded")


def test_a_killed_web_role_is_replaced_and_trainings_go_on(serve, harness):
    server = serve()
    run = submit(server, harness)
    web, _ = server.web_processes()

    os.kill(web, signal.SIGKILL)

    eventually(lambda: server.web_processes()[0] not in (None, web))
    server.ready()
    harness.end(run, 0)
    server.reaches("first", "succeeded")


def test_a_server_that_was_killed_altogether_can_be_started_again_at_its_address(serve, harness):
    server = serve()
    run = submit(server, harness)

    server.kill_all()

    server = serve(BIND=server.address)
    harness.end(run, 0)
    server.reaches("first", "succeeded")


def test_nothing_of_a_killed_supervisor_keeps_the_address(serve):
    server = serve()

    server.kill()

    eventually(lambda: not server.group())


def test_migrate_prepares_the_database_and_ends(backend, tmp_path):
    for _ in range(2):
        process = backend("migrate")
        assert process.exit_code() == 0, process.stderr
    assert (tmp_path / "data" / "experiments.sqlite3").exists()


@pytest.mark.parametrize("role", ["serve", "web", "reconcile", "migrate"])
def test_every_missing_variable_is_named(backend, role):
    variables = {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "", "DB_IP": "10.0.0.1"}
    process = backend(role, **variables)

    assert process.exit_code() == 2
    for name in ("AE_MODEL_IMAGE_URL", "DB_USER", "DB_PASSWORD", "DB_NAME"):
        assert f"error: {name} is missing" in process.stderr
    assert "Traceback" not in process.stderr


def test_variables_that_contradict_each_other_are_named_without_their_secrets(backend):
    process = backend(
        "serve",
        DB_URL="mysql://root:hunter2@10.0.0.1/runs",
        DB_IP="10.0.0.1",
        DB_PASSWORD="hunter3",
        LOCAL_SLOTS="many",
        JOB_CPU="fast",
    )

    assert process.exit_code() == 2
    for name in ("DB_URL", "DB_IP", "DB_PASSWORD", "LOCAL_SLOTS", "JOB_CPU"):
        assert name in process.stderr
    assert "hunter" not in process.stderr + process.stdout


@pytest.mark.parametrize(
    ("role", "variable"), [("serve", "BIND"), ("web", "BIND"), ("reconcile", "HEALTH_BIND")]
)
def test_an_address_in_use_is_named(backend, role, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = backend(role, **{variable: address})

        assert process.exit_code() == 2
    assert f"error: {variable}: {address} cannot be used" in process.stderr
    assert "Traceback" not in process.stderr


def test_serve_with_a_health_address_in_use_does_not_end_as_if_all_were_well(backend):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = backend("serve", HEALTH_BIND=f"127.0.0.1:{taken.getsockname()[1]}")

        assert process.exit_code() == 2
    assert "error: HEALTH_BIND" in process.stderr


@pytest.mark.parametrize("role", ["serve", "web", "reconcile", "migrate"])
def test_a_database_of_somebody_else_is_refused(backend, role, tmp_path):
    path = tmp_path / "data" / "experiments.sqlite3"
    Database(f"sqlite:///{path}").execute("CREATE TABLE experiment (theirs INTEGER)")
    before = path.read_bytes()

    process = backend(role)

    assert process.exit_code() == 2
    assert "'experiment'" in process.stderr
    assert "Traceback" not in process.stderr
    assert path.read_bytes() == before


def test_an_output_folder_that_cannot_be_made_is_named(backend, tmp_path):
    obstacle = tmp_path / "a file"
    obstacle.touch()

    process = backend("serve", OUTPUT_DIR=str(obstacle / "output"))

    assert process.exit_code() == 2
    assert str(obstacle) in process.stderr
    assert "Traceback" not in process.stderr
