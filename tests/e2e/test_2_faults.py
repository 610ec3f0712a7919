"""Outages of the API server, the database and the backend: nothing is lost or started twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.conftest import Stage
from tests.e2e.support import Answer, Deployment, eventually, kubectl, run

EPOCHS = 1000  # trains long enough to be seen running
DATABASE = ("-n", "default", "statefulset/hello-flask-mysql")


@contextmanager
def api_server_down(lab: Path) -> Iterator[None]:
    assert run(f"{lab}/cluster", "stop-apiserver").returncode == 0
    try:
        yield
    finally:
        started = run(f"{lab}/cluster", "start-apiserver", timeout=180)
        assert started.returncode == 0, started.stderr.decode()


@contextmanager
def database_down() -> Iterator[None]:
    kubectl("scale", *DATABASE, "--replicas=0")
    try:
        kubectl(
            "-n", "default", "wait", "--for=delete", "pod/hello-flask-mysql-0", "--timeout=170s"
        )
        yield
    finally:
        kubectl("scale", *DATABASE, "--replicas=1")
        kubectl("rollout", "status", *DATABASE, "--timeout=180s", timeout=200)


def test_form_during_api_server_outage(backend: Deployment, lab: Path) -> None:
    """The experiment is accepted, and its Job is created later."""
    with api_server_down(lab):
        answer = backend.post("patient", epoch=1)
        assert answer.status == 202, answer
        assert answer.json()["status"] == "submitting"
        again = backend.post("patient", epoch=1)
        assert again.status == 200, again
        waiting = backend.experiment("patient")
        assert waiting["status"] == "submitting"
        assert waiting["diagnosis"]["remedy"]
        assert backend.get("/model").status == 200
    backend.wait_until("patient", "succeeded", seconds=180)
    assert len(backend.jobs_of("patient")) == 1


def test_database_outage_loses_nothing(backend: Deployment) -> None:
    assert backend.post("before", epoch=1).status == 201
    backend.wait_until("before", "succeeded")
    with database_down():
        for answer in (backend.post("meanwhile"), backend.get("/model"), backend.get("/readyz")):
            assert answer.status == 503, answer
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
        assert backend.get("/").body == b"Hello Flask!"
        assert backend.get("/healthz").status == 200
        assert backend.jobs_of("meanwhile") == []

    def answers() -> Answer | None:
        answer = backend.get("/model")
        return answer if answer.status == 200 else None

    answer = eventually(answers, seconds=60, what="/model answers again", explain=backend.explain)
    ids = {experiment["experiment_id"] for experiment in answer.json()}
    assert "before" in ids
    assert "meanwhile" not in ids
    backend.wait_ready()
    assert backend.post("meanwhile", epoch=1).status == 201
    backend.wait_until("meanwhile", "succeeded")
    assert restarts(backend) == {"web": 0, "reconcile": 0}


def test_training_outlives_the_backend(backend: Deployment, stage: Stage) -> None:
    assert backend.post("outlives", epoch=EPOCHS).status == 201
    backend.wait_until("outlives", "running")
    kubectl("delete", "-f", f"{stage.yaml}/4_pod.yaml", "--timeout=170s")
    kubectl("apply", "-f", f"{stage.yaml}/4_pod.yaml")
    backend.wait_ready()
    experiment = backend.wait_until("outlives", "succeeded")
    assert experiment["progress"] == {"epoch": EPOCHS, "epochs": EPOCHS}
    assert experiment["attempt"] == 1
    assert len(backend.pods_of("outlives")) == 1


def restarts(backend: Deployment) -> dict[str, int]:
    pods = ("-n", backend.namespace, "get", "pod", "hello-flask")
    path = "{range .status.containerStatuses[*]}{.name}={.restartCount} {end}"
    counts = (one.split("=") for one in kubectl(*pods, "-o", f"jsonpath={path}").split())
    return {name: int(count) for name, count in counts}
