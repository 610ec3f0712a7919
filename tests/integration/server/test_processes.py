"""`python -m backend` on one machine, with SQLite and local Jobs."""

import os
import signal
import socket
from dataclasses import replace

import pytest

from backend.launchers.base import Phase
from tests.integration.backend_process import children_of, free_address
from tests.integration.databases import Database
from tests.integration.launcher_harness import AN_ATTEMPT
from tests.integration.waiting import eventually
from tests.ports import reserve_port

WORKERS = 2  # backend/gunicorn_config.py
FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}


@pytest.fixture
def serve(backend):
    def start(**variables):
        return backend("serve", **variables).ready()

    return start


def submit(server, harness):
    """Submit the form, start the trainer, and return the attempt."""
    answer = server.ask("/test", FORM)
    assert (answer.status, answer.json["message"]) == (201, "Job Created")
    attempt = replace(AN_ATTEMPT, experiment_id="first")
    harness.start(attempt)
    return attempt


def all_processes(server):
    """Return the ids of the web role and of its workers; None while one is not started yet."""
    web, workers = server.web_processes()
    return (web, workers) if len(workers) == WORKERS else None


def test_form_to_success(serve, harness):
    server = serve()
    assert server.ask("/").content == b"Hello Flask!"
    attempt = submit(server, harness)
    server.reaches("first", "running")

    harness.end(attempt, 0)

    ended = server.reaches("first", "succeeded")
    steps = [step["to_status"] for step in ended["history"]]
    assert steps == ["submitting", "queued", "running", "succeeded"]
    assert [one["experiment_id"] for one in server.ask("/model").json] == ["first"]


def test_failure_is_explained(serve, harness):
    server = serve()
    attempt = submit(server, harness)

    harness.end(attempt, 2, "error: there is no data")

    diagnosis = server.reaches("first", "failed")["diagnosis"]
    assert diagnosis["reason"] == "input_unusable"
    assert "error: there is no data" in diagnosis["message"]


def test_waiting_experiment_starts_by_itself(serve, harness):
    server = serve()
    attempt = submit(server, harness)
    assert server.ask("/test", FORM | {"experiment_id": "second"}).status == 201
    assert server.ask("/experiments/second").json["status"] == "queued"

    harness.end(attempt, 0)

    server.reaches("second", "running")


def test_waiting_experiment_starts_with_the_next_server(serve, harness):
    """The slot was freed while no server ran."""
    server = serve()
    attempt = submit(server, harness)
    assert server.ask("/test", FORM | {"experiment_id": "second"}).status == 201
    server.reaches("first", "running")
    server.press_ctrl_c()
    assert server.exit_code() == 0
    assert "1 experiment(s) continues" in server.stdout
    assert "1 experiment(s) wait" in server.stdout
    harness.end(attempt, 0)

    server = serve()

    server.reaches("second", "running")
    server.reaches("first", "succeeded")


def test_training_survives_ctrl_c(serve, harness):
    """The next server records its end."""
    server = serve()
    attempt = submit(server, harness)
    server.reaches("first", "running")

    server.press_ctrl_c()

    assert server.exit_code() == 0
    assert "1 experiment(s)" in server.stdout
    assert "python -m backend serve" in server.stdout
    assert "Traceback" not in server.stderr
    assert harness.launcher().observe()[attempt.handle].phase is Phase.RUNNING
    server = serve()
    server.reaches("first", "running")
    harness.end(attempt, 0)
    server.reaches("first", "succeeded")
    assert harness.starts(attempt) == 1


def test_end_without_a_server(serve, harness):
    server = serve()
    attempt = submit(server, harness)
    server.reaches("first", "running")
    server.terminate()
    assert server.exit_code() == 0

    harness.end(attempt, 0)

    serve().reaches("first", "succeeded")


@pytest.mark.parametrize("role", ["serve", "web", "reconcile"])
def test_sigterm(backend, role):
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


def test_killed_worker(serve, harness):
    server = serve()
    attempt = submit(server, harness)
    web, workers = eventually(lambda: all_processes(server))

    for worker in workers:
        os.kill(worker, signal.SIGKILL)

    eventually(lambda: len(set(children_of(web)) - set(workers)) == len(workers))
    server.ready()
    harness.end(attempt, 0)
    server.reaches("first", "succeeded")


def test_killed_reconciler(serve, harness):
    server = serve()
    attempt = submit(server, harness)
    server.reaches("first", "running")

    os.kill(server.reconciler(), signal.SIGKILL)
    harness.end(attempt, 0)

    server.reaches("first", "succeeded")


def test_killed_web_role(serve, harness):
    server = serve()
    attempt = submit(server, harness)
    web, _ = server.web_processes()

    os.kill(web, signal.SIGKILL)

    eventually(lambda: server.web_processes()[0] not in (None, web))
    server.ready()
    harness.end(attempt, 0)
    server.reaches("first", "succeeded")


def test_address_is_free_after_a_kill(serve, harness):
    server = serve()
    attempt = submit(server, harness)

    server.kill_all()

    server = serve(BIND=server.address)
    harness.end(attempt, 0)
    server.reaches("first", "succeeded")


def test_killed_supervisor_takes_all_along(serve):
    server = serve()

    server.kill()

    eventually(lambda: not server.group())


def test_migrate(backend, tmp_path):
    for _ in range(2):
        process = backend("migrate")
        assert process.exit_code() == 0, process.stderr
    assert (tmp_path / "data" / "experiments.sqlite3").exists()


@pytest.mark.parametrize("role", ["serve", "web", "reconcile", "migrate"])
def test_missing_variables_are_named(backend, role):
    variables = {"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "", "DB_IP": "10.0.0.1"}
    process = backend(role, **variables)

    assert process.exit_code() == 2
    for name in ("AE_MODEL_IMAGE_URL", "DB_USER", "DB_PASSWORD", "DB_NAME"):
        assert f"error: {name} is missing" in process.stderr
    assert "Traceback" not in process.stderr


def test_contradicting_variables(backend):
    """They are named, their secrets are not."""
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
def test_address_in_use(backend, role, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = backend(role, **{variable: address})

        assert process.exit_code() == 2
    assert f"error: {variable}: {address} cannot be used" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("role", "variable"), [("serve", "BIND"), ("web", "BIND"), ("reconcile", "HEALTH_BIND")]
)
@pytest.mark.parametrize("host", ["[::1]", "[::]"])
def test_ipv6_address(backend, role, variable, host):
    port = reserve_port()
    server = backend(role, **{variable: f"{host}:{port}"})
    server.address = f"[::1]:{port}"

    server.ready()


def test_ipv6_address_in_use(backend):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        address = f"[::1]:{taken.getsockname()[1]}"
        process = backend("serve", BIND=address)

        assert process.exit_code() == 2
    assert f"error: BIND: {address} cannot be used: Address already in use" in process.stderr


@pytest.mark.parametrize(
    ("role", "variable"), [("serve", "BIND"), ("web", "BIND"), ("reconcile", "HEALTH_BIND")]
)
def test_address_whose_name_does_not_resolve(backend, role, variable):
    process = backend(role, **{variable: "nowhere.invalid:5000"})  # RFC 6761, 6.4

    assert process.exit_code() == 2
    assert f"error: {variable}: nowhere.invalid:5000 cannot be used: its host" in process.stderr
    assert "Traceback" not in process.stderr


def test_http_1_0_health_check(serve):
    """HAProxy's `option httpchk GET /healthz` sends no header at all."""
    host, _, port = serve().address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"200"


def test_health_address_in_use(backend):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = backend("serve", HEALTH_BIND=f"127.0.0.1:{taken.getsockname()[1]}")

        assert process.exit_code() == 2
    assert "error: HEALTH_BIND" in process.stderr


@pytest.mark.parametrize("role", ["serve", "web", "reconcile", "migrate"])
def test_foreign_database_is_refused(backend, role, tmp_path):
    path = tmp_path / "data" / "experiments.sqlite3"
    Database(f"sqlite:///{path}").execute("CREATE TABLE experiment (theirs INTEGER)")
    before = path.read_bytes()

    process = backend(role)

    assert process.exit_code() == 2
    assert "'experiment'" in process.stderr
    assert "Traceback" not in process.stderr
    assert path.read_bytes() == before


def test_impossible_output_folder(backend, tmp_path):
    obstacle = tmp_path / "a file"
    obstacle.touch()

    process = backend("serve", OUTPUT_DIR=str(obstacle / "output"))

    assert process.exit_code() == 2
    assert str(obstacle) in process.stderr
    assert "Traceback" not in process.stderr
