"""A retry replaces an attempt that waits for what a corrected setting would give it."""

import pytest

from backend.app import create_app
from backend.experiments import service
from backend.settings import Settings

FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}
CORRECTED = "registry/autoencoder:2"


@pytest.fixture
def app(database, make_app):
    return make_app(database)


@pytest.fixture
def corrected(database, environ, app):
    """The app after its pod was started again with another image."""
    variables = {"DB_URL": database.url, "LAUNCHER": "kubernetes"}
    variables |= {"AE_MODEL_IMAGE_URL": CORRECTED, "JOB_CPU": "2"}
    corrected = create_app(Settings.from_environment(environ | variables))
    yield corrected
    corrected.extensions["services"].close()


@pytest.fixture
def waiting(app, kubernetes, reconcile):
    """The Job of an experiment whose image cannot be pulled."""
    job = app.test_client().post("/test", data=FORM).json["job"]
    kubernetes.wait_in_pod(job, "ImagePullBackOff", "not found")
    reconcile()
    shown = app.test_client().get("/experiments/first").json
    assert (shown["status"], shown["diagnosis"]["reason"]) == ("queued", "image_not_pulled")
    return job


def retry(app):
    return app.test_client().post("/experiments/first/retry")


def test_waiting_attempt_is_replaced(corrected, waiting, kubernetes, reconcile):
    answer = retry(corrected)

    assert (answer.status_code, answer.json["attempt"]) == (202, 2)
    assert (answer.json["status"], answer.json["diagnosis"]) == ("queued", None)
    [(name, job)] = kubernetes.jobs().items()
    assert name == answer.json["job"] != waiting
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == CORRECTED
    assert container["resources"]["requests"]["cpu"] == "2"
    reconcile()
    history = corrected.test_client().get("/experiments/first").json["history"]
    assert [(step["attempt"], step["to_status"], step["reason"]) for step in history] == [
        (1, "submitting", None),
        (1, "queued", None),
        (1, "cancelled", None),
        (2, "submitting", "retry"),
        (2, "queued", None),
    ]
    assert len(kubernetes.jobs()) == 1


def test_started_attempt_is_left_alone(corrected, waiting, kubernetes):
    """Its container has started, which the reconciler has not seen yet."""
    kubernetes.run(waiting)

    assert retry(corrected).status_code == 409
    assert list(kubernetes.jobs()) == [waiting]
    shown = corrected.test_client().get("/experiments/first").json
    assert (shown["attempt"], shown["cancel_requested_at"]) == (1, None)


def test_no_second_trainer_beside_one_that_ends(
    corrected, waiting, kubernetes, reconcile, monkeypatch
):
    """The pod is on a node and takes its time to end: nothing is started before."""
    monkeypatch.setattr(service, "ENDING_SECONDS", 0.0)
    kubernetes.pods_end_slowly = True
    kubernetes.add_node("node-1", ready=True)
    pod = kubernetes.add_pod(waiting, node="node-1")

    answer = retry(corrected)

    assert answer.status_code == 409
    assert "retry again in a few seconds" in answer.json["detail"]
    assert not kubernetes.jobs()
    kubernetes.vanish(pod)
    reconcile()
    answer = retry(corrected)
    assert (answer.status_code, answer.json["attempt"]) == (202, 2)


def test_without_diagnosis_nothing_is_replaced(app, kubernetes):
    job = app.test_client().post("/test", data=FORM).json["job"]

    assert retry(app).status_code == 409
    assert list(kubernetes.jobs()) == [job]
