"""What a pod has printed is saved when it is told to end, without waiting for the reconciler."""

import threading

import pytest

from backend.experiments.reconciler import Reconciler
from backend.files.log_lines import UNHEARD
from tests.integration.waiting import DEADLINE_SECONDS, eventually

FORM = {"experiment_id": "first", "learning_rate": "0.001", "epoch": "20"}


@pytest.fixture
def app(database, make_app):
    return make_app(database)


@pytest.fixture
def services(app):
    return app.extensions["services"]


@pytest.fixture
def pod(app, services, kubernetes):
    """The pod of a running experiment, as the reconciler has seen it."""
    job = app.test_client().post("/test", data=FORM).json["job"]
    eventually(lambda: services.launcher.changes(0.1) is not None)  # both watches have begun
    pod = kubernetes.run(job)
    kubernetes.write_log(pod, "epoch 1\n")
    Reconciler(services, ttl_seconds=60).reconcile()
    assert app.test_client().get("/experiments/first").json["status"] == "running"
    return pod


def saved_parts(services):
    folder = services.outputs.folder("first") / "logs"
    return [path.read_bytes() for path in sorted(folder.glob("1.*.log"))]


def test_last_words_of_a_pod_are_saved(services, kubernetes, pod, monkeypatch):
    is_heard, follow = threading.Event(), kubernetes.follow_log
    monkeypatch.setattr(kubernetes, "follow_log", lambda *what: is_heard.set() or follow(*what))
    kubernetes.pods_end_slowly = True
    kubernetes.evict(pod)
    services.departures.step(DEADLINE_SECONDS)
    assert is_heard.wait(DEADLINE_SECONDS)
    kubernetes.write_log(pod, "stopped by signal 15\n")
    kubernetes.stop_pod(pod)

    eventually(lambda: saved_parts(services) == [b"epoch 1\nstopped by signal 15\n"])


def test_pod_that_nobody_could_hear_is_said(services, kubernetes, pod):
    """Its node was lost, or nobody looked in the second that it took to end."""
    kubernetes.evict(pod)
    services.departures.step(DEADLINE_SECONDS)

    eventually(lambda: saved_parts(services) == [UNHEARD + b"\n"])


def test_cancelled_experiment_has_no_lost_part(app, services, kubernetes, pod):
    """Whoever cancels it hears what it prints, and the log that is saved is whole."""
    assert app.test_client().post("/experiments/first/cancel").status_code == 202
    services.departures.step(DEADLINE_SECONDS)

    log = services.outputs.folder("first") / "logs" / "1.log"
    eventually(lambda: log.exists() and log.read_bytes().startswith(b"epoch 1\n"))
    savers = [one for one in threading.enumerate() if one.name.startswith("final-output-")]
    for saver in savers:
        saver.join(DEADLINE_SECONDS)
    assert saved_parts(services) == []
