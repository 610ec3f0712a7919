"""An experiment of several nodes on Kubernetes, from the form to its end."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest

from backend.experiments import reconciler as module
from backend.launchers.base import LauncherRefused
from backend.launchers.kubernetes.gangs.indexed_job import SERVICE
from tests.fakes.kubernetes_api import Fault, broken, forbidden
from tests.fakes.kueue import FakeKueue
from tests.integration.waiting import eventually

FORM = {"learning_rate": "0.001", "epoch": "20"}
ENTRY = "{image: 'localhost:5000/own:1', nodes: 2, sizes: {queued: {queue: team-a}}}"
SMALL_ENTRY = "image: localhost:5000/own:1"


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(module, "SUBMIT_GRACE", timedelta(0))


@pytest.fixture
def entry_file(tmp_path):
    folder = tmp_path / "models" / "own"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(ENTRY)
    return folder / "model.yaml"


@pytest.fixture
def environ(environ, entry_file):
    return environ | {"MODELS_DIR": str(entry_file.parents[1])}


@pytest.fixture
def app(own_database, make_app):
    return make_app(own_database)


@pytest.fixture
def service(kubernetes):
    metadata = {"name": SERVICE, "namespace": "default"}
    kubernetes.put("services", {"metadata": metadata, "spec": {"clusterIP": "None"}})


def submit(client, experiment_id="a", **fields):
    return client.post(
        "/test", data=FORM | {"experiment_id": experiment_id, "model": "own"} | fields
    )


def look(client, experiment_id="a"):
    return client.get(f"/experiments/{experiment_id}").json


def log_of(client, worker):
    return client.get(f"/experiments/a/logs?worker={worker}").text


@pytest.mark.usefixtures("service")
def test_gang_trains_and_succeeds(client, reconcile, kubernetes, tmp_path):
    answer = submit(client)
    assert answer.status_code == 201, answer.json
    assert answer.json["nodes"] == 2
    job = answer.json["job"]
    assert kubernetes.jobs()[job]["spec"]["completionMode"] == "Indexed"

    first = kubernetes.run(job, index=0)
    reconcile()
    assert look(client)["status"] == "queued"  # it waits for worker 1
    second = kubernetes.run(job, index=1)
    for rank, pod in enumerate((first, second)):
        kubernetes.write_log(pod, f"of worker {rank}\n")
    reconcile()
    assert look(client)["status"] == "running"
    assert [log_of(client, rank) for rank in (0, 1)] == ["of worker 0\n", "of worker 1\n"]

    for pod in (second, first):
        kubernetes.finish(pod, 0)
    reconcile()
    assert look(client)["status"] == "succeeded"
    kubernetes.remove_job(job)
    assert [log_of(client, rank) for rank in (0, 1)] == ["of worker 0\n", "of worker 1\n"]
    logs = tmp_path / "output" / "a" / "logs"
    assert sorted(path.name for path in logs.iterdir()) == ["1-worker-1.log", "1.log"]
    assert json.loads((logs.parent / "run.json").read_text())["nodes"] == 2


@pytest.mark.usefixtures("service")
def test_one_failure_ends_the_gang_and_the_next_attempt_starts_it(client, reconcile, kubernetes):
    job = submit(client).json["job"]
    pods = kubernetes.run_gang(job)
    for rank, pod in enumerate(pods):
        kubernetes.write_log(pod, f"of worker {rank}\n")
    reconcile()
    kubernetes.pods_end_slowly = True

    kubernetes.finish(pods[1], 137)
    reconcile()
    shown = look(client)
    assert shown["status"] == "failed"
    assert shown["diagnosis"]["message"].startswith("Worker 1: The trainer exited with code 137")
    assert [log_of(client, rank) for rank in (0, 1)] == ["of worker 0\n", "of worker 1\n"]

    retried = client.post("/experiments/a/retry")
    assert retried.status_code in (200, 201, 202), retried.json
    following = kubernetes.jobs()[look(client)["job"]]
    assert following["metadata"]["name"] != job
    assert following["spec"]["completions"] == 2


@pytest.mark.usefixtures("service")
def test_log_of_a_leaving_worker_is_kept(client, reconcile, kubernetes, tmp_path):
    """The Job controller deletes the pods that have not failed; their output must not be lost."""
    job = submit(client).json["job"]
    pods = kubernetes.run_gang(job)
    kubernetes.write_log(pods[1], "begin\n")
    reconcile()
    kubernetes.pods_end_slowly = True
    kubernetes.evict(pods[1])
    reconcile()
    kubernetes.write_log(pods[1], "end\n")
    kubernetes.set_pod(pods[1], "Failed", {"terminated": {"exitCode": 69}})

    logs = tmp_path / "output" / "a" / "logs"
    (part,) = eventually(lambda: list(logs.glob("1-worker-1.*.log")))
    eventually(lambda: part.read_text() == "begin\nend\n")
    kubernetes.vanish(pods[1])
    assert log_of(client, 1) == "begin\nend\n"
    assert log_of(client, 0) == ""


@pytest.mark.usefixtures("service")
def test_cancelled_gang_leaves_the_log_of_each_worker(client, reconcile, kubernetes, tmp_path):
    job = submit(client).json["job"]
    for rank, pod in enumerate(kubernetes.run_gang(job)):
        kubernetes.write_log(pod, f"of worker {rank}\n")
    reconcile()
    assert client.post("/experiments/a/cancel").status_code in (200, 202)
    reconcile()
    reconcile()

    assert look(client)["status"] == "cancelled"
    logs = tmp_path / "output" / "a" / "logs"
    eventually(lambda: (logs / "1-worker-1.log").exists() and (logs / "1.log").exists())
    assert [log_of(client, rank) for rank in (0, 1)] == ["of worker 0\n", "of worker 1\n"]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("worker", ["2", "31"])
def test_log_of_no_worker(client, worker):
    submit(client)

    answer = client.get(f"/experiments/a/logs?worker={worker}")
    assert answer.status_code == 404
    assert answer.json["detail"] == f"'a' has no worker {worker}; its last one is 1."
    for other in ("32", "-1", "x"):
        assert client.get(f"/experiments/a/logs?worker={other}").status_code == 422


def test_experiment_of_one_node_has_one_worker(client, kubernetes, entry_file):
    entry_file.write_text(SMALL_ENTRY)
    answer = submit(client)

    assert "nodes" not in answer.json
    assert client.get("/experiments/a/logs?worker=0").status_code == 200
    refused = client.get("/experiments/a/logs?worker=1")
    assert (refused.status_code, refused.json["detail"]) == (
        404,
        "'a' has one worker only, whose number is 0.",
    )
    assert kubernetes.count("get", "services") == 0


@pytest.mark.usefixtures("service")
def test_cluster_without_indexed_jobs_refuses_a_gang(client, kubernetes, own_database):
    """Kubernetes 1.20 would start two pods without a rank, each training on its own."""
    kubernetes.knows_indexed_jobs = False
    answer = submit(client)

    assert answer.status_code == 502
    assert "its Kubernetes has no Indexed Jobs" in answer.json["detail"]
    assert kubernetes.jobs() == {}
    shown = look(client)
    assert (shown["status"], shown["diagnosis"]["reason"]) == ("failed", "gang_unsupported")

    kubernetes.knows_indexed_jobs = True  # after an upgrade
    client.post("/experiments/a/retry")
    assert list(kubernetes.jobs()) == [look(client)["job"]]


def test_missing_service_is_named(client, reconcile, kubernetes, request):
    answer = submit(client)

    assert answer.status_code == 202
    shown = look(client)
    assert shown["status"] == "submitting"
    assert shown["diagnosis"]["reason"] == "service_missing"
    assert f"The Service {SERVICE}," in shown["diagnosis"]["message"]
    assert kubernetes.jobs() == {}

    request.getfixturevalue("service")
    reconcile()
    assert look(client)["status"] == "queued"
    assert list(kubernetes.jobs()) == [shown["job"]]


@pytest.mark.parametrize(
    ("verb", "resource", "fault", "is_created"),
    [
        ("create", "jobs", broken(503), False),
        ("create", "jobs", Fault(), False),
        ("create", "jobs", Fault(garbage=True), False),
        ("create", "jobs", forbidden(), False),
        ("get", "services", broken(503), False),
        ("get", "services", Fault(), False),
        ("get", "services", forbidden("get", "services", ""), True),  # rights of an older version
    ],
)
@pytest.mark.usefixtures("service")
def test_nothing_is_lost_if_the_checks_fail(
    client, reconcile, kubernetes, verb, resource, fault, is_created
):
    kubernetes.fail(verb, resource, fault)
    answer = submit(client)

    assert answer.status_code == (201 if is_created else 202)
    assert len(kubernetes.jobs()) == is_created
    reconcile()
    assert look(client)["status"] == "queued"
    assert len(kubernetes.jobs()) == 1


@pytest.mark.usefixtures("service")
def test_gang_is_submitted_once(client, reconcile, kubernetes):
    """A lost answer is followed by the adoption of the Job that was created."""
    kubernetes.fail("get", "services", broken(503))
    submit(client)
    assert submit(client).status_code == 200
    reconcile()
    reconcile()
    assert len(kubernetes.jobs()) == 1
    assert submit(client).status_code == 200


@pytest.mark.usefixtures("service")
def test_entry_that_changes_its_nodes_leaves_experiments_alone(
    client, reconcile, kubernetes, entry_file
):
    job = submit(client).json["job"]
    entry_file.write_text(SMALL_ENTRY)

    assert submit(client).status_code == 200
    kubernetes.finish(kubernetes.run_gang(job)[1], 1)
    reconcile()
    client.post("/experiments/a/retry")
    assert kubernetes.jobs()[look(client)["job"]]["spec"]["completions"] == 2
    other = submit(client, "b").json["job"]
    assert "completionMode" not in kubernetes.jobs()[other]["spec"]


@pytest.mark.usefixtures("service")
def test_nodes_that_no_entry_names_are_refused(client, app):
    """A trainer can write to run.json, from which a lost database is rebuilt."""
    submit(client)
    services = app.extensions["services"]
    tampered = replace(services.experiments.get("a"), nodes=32)

    with pytest.raises(LauncherRefused) as refusal:
        services.models.entry_of(tampered)
    assert refusal.value.diagnosis.reason == "model_changed"
    assert services.models.entry_of(replace(tampered, nodes=2)).nodes == 2


@pytest.mark.usefixtures("service")
def test_queue_admits_a_gang_whole(client, reconcile, kubernetes):
    kueue = FakeKueue(kubernetes)
    job = submit(client, size="queued").json["job"]
    (workload,) = kubernetes.objects["workloads"].values()
    assert [pods["count"] for pods in workload["spec"]["podSets"]] == [2]
    kueue.wait(job)
    reconcile()
    assert look(client)["diagnosis"]["reason"] == "suspended"

    kueue.admit(job)
    kubernetes.run_gang(job)
    reconcile()
    assert look(client)["status"] == "running"
    kueue.preempt(job)
    reconcile()
    assert look(client)["status"] == "queued"
    kueue.admit(job)
    pods = kubernetes.run_gang(job)
    reconcile()
    assert look(client)["status"] == "running"
    for pod in pods:
        kubernetes.finish(pod, 0)
    reconcile()
    assert (look(client)["status"], look(client)["attempt"]) == ("succeeded", 1)


@pytest.mark.usefixtures("service")
def test_gang_is_restored_from_its_job(client, app, reconcile, kubernetes, tmp_path):
    """From its annotation alone, once the database and run.json are lost."""
    job = submit(client).json["job"]
    kubernetes.run_gang(job)
    store = app.extensions["services"].store
    experiment = app.extensions["services"].experiments.get("a")
    store.delete(experiment)
    shutil.rmtree(tmp_path / "output" / "a")
    (tmp_path / "output" / "a").mkdir()

    def is_adopted():
        reconcile()
        return look(client).get("nodes") == 2

    eventually(is_adopted)
    assert look(client)["job"] == job
