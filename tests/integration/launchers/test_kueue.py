"""A Job in a queue of Kueue, from the form to its end: what is shown, counted and kept."""

from datetime import timedelta

import pytest

from backend.experiments import reconciler as module
from backend.experiments.reconciler import Reconciler
from backend.launchers.kubernetes import launcher as kubernetes_launcher
from backend.launchers.kubernetes.queues import workloads
from tests.fakes.kubernetes_api import forbidden
from tests.fakes.kueue import NO_QUOTA, FakeKueue
from tests.integration.waiting import eventually

FORM = {"learning_rate": "0.001", "epoch": "20"}
ENTRY = """
queue: team-a
priority_classes: {high: urgent}
workload_priority_classes: {low: batch, high: urgent}
sizes:
  large: {cpu: "4", queue: team-large}
image: localhost:5000/own:1
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(0))
    monkeypatch.setattr(workloads, "LISTING_SHARE", 0)
    monkeypatch.setattr(workloads, "FAILED_SECONDS", 0)


@pytest.fixture
def environ(environ, tmp_path):
    folder = tmp_path / "models" / "own"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(ENTRY)
    return environ | {"MODELS_DIR": str(tmp_path / "models"), "JOB_QUEUE": "everybody"}


@pytest.fixture
def app(own_database, make_app):
    return make_app(own_database)


@pytest.fixture
def kueue(kubernetes):
    return FakeKueue(kubernetes, batch=-10, urgent=10)


def submit(client, experiment_id, **fields):
    """Submit an experiment of the model `own`, and return the name of its Job."""
    form = FORM | {"experiment_id": experiment_id, "model": "own"} | fields
    answer = client.post("/test", data=form)
    assert answer.status_code == 201, answer.json
    return answer.json["job"]


def look(client, experiment_id="a"):
    return client.get(f"/experiments/{experiment_id}").json


def steps(shown):
    return [(step["to_status"], step["reason"]) for step in shown["history"]]


def test_labels_come_from_the_operator(client, kubernetes, kueue):
    """A client chooses a priority and a size; no field of a form is a queue."""
    jobs = {
        "entry": submit(client, "entry", priority="high"),
        "size": submit(client, "size", size="large"),
        "settings": submit(client, "settings", model="autoencoder"),
    }
    labels = {name: kubernetes.jobs()[job]["metadata"]["labels"] for name, job in jobs.items()}
    found = {
        name: (each["kueue.x-k8s.io/queue-name"], each.get("kueue.x-k8s.io/priority-class"))
        for name, each in labels.items()
    }
    refused = client.post(
        "/test", data=FORM | {"experiment_id": "x", "model": "own", "queue": "team-b"}
    )

    assert found == {
        "entry": ("team-a", "urgent"),
        "size": ("team-large", None),
        "settings": ("everybody", None),
    }
    assert refused.status_code == 422


def test_waits_with_the_words_of_kueue(client, reconcile, kueue):
    job = submit(client, "a")
    kueue.wait(job)
    reconcile()

    shown = look(client)
    assert shown["status"] == "queued"
    assert shown["diagnosis"]["reason"] == "suspended"
    assert NO_QUOTA in shown["diagnosis"]["message"]
    assert shown["queue"] == {"position": 1, "ahead": []}


def test_place_in_the_queue(client, app, reconcile, kueue):
    """By priority, then by age; Workloads of others count, and have no name here."""
    kueue.add("of-others", "team-a", priority=5)
    kueue.add("of-yet-others", "team-a", priority=5)
    for name, priority in (("low", "low"), ("a", "normal"), ("b", "normal"), ("high", "high")):
        submit(client, name, priority=priority)
    submit(client, "elsewhere", size="large")
    reconcile()

    assert look(client, "low")["queue"] == {"position": 6, "ahead": ["high", "a", "b"]}
    assert look(client, "high")["queue"] == {"position": 1, "ahead": []}
    assert look(client, "a")["queue"] == {"position": 4, "ahead": ["high"]}
    assert look(client, "elsewhere")["queue"] == {"position": 1, "ahead": []}


def test_preempted_goes_back_to_its_queue(client, reconcile, kubernetes, kueue):
    """It is shown as queued, and goes on as the same attempt: nothing has failed."""
    job = submit(client, "a")
    kueue.admit(job)
    pod = kubernetes.run(job)
    kubernetes.write_log(pod, "epoch 1/20\n")
    reconcile()
    begun = look(client)
    assert begun["status"] == "running"
    kubernetes.pods_end_slowly = True

    kueue.preempt(job)
    reconcile()
    assert look(client)["status"] == "running"  # its trainer saves a checkpoint
    eventually(lambda: kubernetes.count("get", "pods/log"))  # its last output is being read
    kubernetes.stop_pod(pod)
    reconcile()

    shown = look(client)
    assert shown["status"] == "queued"
    assert shown["diagnosis"]["reason"] == "preempted"
    assert "Preempted to accommodate a workload" in shown["diagnosis"]["message"]
    assert shown["queue"]["position"] == 1

    kueue.admit(job)
    pod = kubernetes.run(job)
    kubernetes.write_log(pod, "resumed after epoch 1\n")
    reconcile()
    kubernetes.finish(pod, 0)
    reconcile()

    shown = look(client)
    assert (shown["status"], shown["attempt"]) == ("succeeded", 1)
    assert steps(shown) == [
        ("submitting", None),
        ("queued", None),
        ("running", None),
        ("queued", "preempted"),
        ("running", None),
        ("succeeded", None),
    ]
    assert shown["started_at"] == begun["started_at"]
    assert kubernetes.count("create", "jobs") == 1
    whole = "epoch 1/20\nresumed after epoch 1\n"
    eventually(lambda: client.get("/experiments/a/logs").text == whole)


def test_any_number_of_preemptions(client, reconcile, kubernetes, kueue):
    """More often than a Job may fail (JOB_BACKOFF_LIMIT)."""
    kubernetes.pods_end_slowly = True
    job = submit(client, "a")
    for _ in range(6):
        kueue.admit(job)
        pod = kubernetes.run(job)
        reconcile()
        assert look(client)["status"] == "running"
        kueue.preempt(job)
        kubernetes.stop_pod(pod)
        reconcile()
        assert look(client)["status"] == "queued"

    assert kubernetes.jobs()[job]["status"]["failed"] == 0


def test_failures_still_count(client, reconcile, kubernetes, kueue):
    """Only the exit code of a trainer that was stopped is ignored."""
    kubernetes.pods_end_slowly = True
    job = submit(client, "a")
    for _ in range(4):
        kueue.admit(job)
        pod = kubernetes.run(job)
        kueue.preempt(job)
        kubernetes.stop_pod(pod, exit_code=1)
    reconcile()

    assert look(client)["status"] == "failed"


def test_evicted_for_another_reason(client, reconcile, kubernetes, kueue):
    job = submit(client, "a")
    kueue.admit(job)
    kubernetes.run(job)
    reconcile()

    kueue.evict(job, "ClusterQueueStopped", "The ClusterQueue is stopped")
    reconcile()

    shown = look(client)
    assert steps(shown)[-1] == ("queued", "suspended")
    assert "The ClusterQueue is stopped" in shown["diagnosis"]["message"]


def test_suspended_job_can_be_cancelled(client, reconcile, kubernetes, kueue):
    job = submit(client, "a")
    kueue.admit(job)
    kubernetes.run(job)
    reconcile()
    kueue.preempt(job)
    reconcile()

    assert client.post("/experiments/a/cancel").status_code == 202
    reconcile()

    assert look(client)["status"] == "cancelled"
    assert kubernetes.jobs() == {}


def test_changes_are_seen_at_once(app, client, reconcile, kubernetes, kueue, monkeypatch):
    """By the watches of Jobs and pods; what only Kueue says, with its next list."""
    monkeypatch.setattr(kubernetes_launcher, "RELOOK_SECONDS", 0)
    launcher = app.extensions["services"].launcher
    job = submit(client, "a")
    kueue.wait(job)
    launcher.changes(0)
    reconcile()
    eventually(lambda: launcher.changes(0.1) == frozenset())

    kueue.wait(job, "insufficient unused quota for memory")
    assert launcher.changes(0) == {job}
    kueue.admit(job)
    eventually(lambda: job in launcher.changes(0.1))
    kubernetes.run(job)
    eventually(lambda: job in launcher.changes(0.1))
    kueue.preempt(job)
    eventually(lambda: job in launcher.changes(0.1))


def test_without_the_right(client, reconcile, kubernetes, kueue):
    job = submit(client, "a")
    refusal = forbidden("list", "workloads", "kueue.x-k8s.io")
    kubernetes.fail("list", "workloads", refusal, times=10)
    reconcile()

    shown = look(client)
    assert (shown["status"], shown["diagnosis"]["reason"]) == ("queued", "suspended")
    assert "yaml/kueue/" in shown["diagnosis"]["remedy"]
    assert shown["queue"] is None

    kueue.admit(job)
    kubernetes.run(job)
    reconcile()
    assert look(client)["status"] == "running"
    kueue.preempt(job)
    reconcile()
    assert steps(look(client))[-1] == ("queued", "suspended")


def test_cluster_without_kueue(client, reconcile, kubernetes):
    """The Job does not train outside of its queue, and the diagnosis says what is missing."""
    job = submit(client, "a")
    assert kubernetes.jobs()[job]["spec"]["suspend"] is True
    reconcile()

    shown = look(client)
    assert (shown["status"], shown["diagnosis"]["reason"]) == ("queued", "queue_unusable")
    assert "team-a" in shown["diagnosis"]["message"]


def test_no_queue_asks_for_no_workloads(environ, own_database, make_app, kubernetes, kueue):
    environ.pop("JOB_QUEUE")
    app = make_app(own_database)
    job = submit(app.test_client(), "a", model="autoencoder")
    assert "suspend" not in kubernetes.jobs()[job]["spec"]
    kubernetes.run(job)
    Reconciler(app.extensions["services"], ttl_seconds=60).reconcile()
    app.extensions["services"].launcher.changes(0)

    assert kubernetes.count("list", "workloads") == 0


def test_retry_goes_to_the_same_queue(client, reconcile, kubernetes, kueue):
    job = submit(client, "a", priority="high")
    kueue.admit(job)
    kubernetes.finish(kubernetes.run(job), 1)
    reconcile()

    client.post("/experiments/a/retry")

    (retried,) = (each for name, each in kubernetes.jobs().items() if name != job)
    labels = retried["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "team-a"
    assert labels["kueue.x-k8s.io/priority-class"] == "urgent"
