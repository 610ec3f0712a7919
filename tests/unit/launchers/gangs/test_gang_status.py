"""What the pods of a gang say together."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend.domain.attempt import Attempt
from backend.launchers.base import Phase
from backend.launchers.exit_codes import EXIT_PEER_LOST
from backend.launchers.kubernetes.manifest import render
from backend.launchers.kubernetes.status import Surroundings, observation, observation_of_orphans
from backend.settings import Settings

ATTEMPT = Attempt("first", "uid-1", "autoencoder", 0.001, 20, None, 1, nodes=2)
SETTINGS = Settings.from_environment({"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "i:1"})
NOW = datetime(2026, 1, 1, 0, 2, tzinfo=UTC)
MIB = 2**20
READY = [{"type": "Ready", "status": "True"}]
NO_NODE = [
    {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }
]


def job(*, suspend=False, **status):
    body = render(ATTEMPT, SETTINGS)
    body["metadata"] |= {"uid": "job-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}
    if suspend:
        body["spec"]["suspend"] = True
    return body | {"status": status}


def failed(reason="BackoffLimitExceeded"):
    about = {"type": "Failed", "status": "True", "reason": reason, "message": "the limit"}
    return job(conditions=[about | {"lastTransitionTime": "2026-01-01T00:01:00Z"}])


def pod(rank, phase, state=None, *, created="2026-01-01T00:00:01Z", deleted=False, **status):
    containers = [{"name": "train", "image": "i:1", "state": state or {}}]
    metadata = {
        "name": f"{ATTEMPT.handle}-{rank}-abcde",
        "creationTimestamp": created,
        "annotations": {"batch.kubernetes.io/job-completion-index": str(rank)},
    }
    metadata |= {"deletionTimestamp": "2026-01-01T00:01:30Z"} if deleted else {}
    status = {"phase": phase, "containerStatuses": containers, "conditions": READY} | status
    return {"metadata": metadata, "spec": {"nodeName": f"node-{rank}"}, "status": status}


def running(rank, **more):
    return pod(rank, "Running", {"running": {"startedAt": "2026-01-01T00:00:05Z"}}, **more)


def ended(rank, code, at="2026-01-01T00:00:50Z", message="", **more):
    state = {"exitCode": code, "reason": "Error", "message": message, "finishedAt": at}
    return pod(rank, "Failed" if code else "Succeeded", {"terminated": state}, **more)


def around(*, ready=lambda _node: True, warnings=(), now=NOW):
    return Surroundings(ready, lambda: list(warnings), now)


def observe(body, *pods, **surroundings):
    return observation(body, list(pods), around(**surroundings))


def test_runs_once_every_worker_runs():
    seen = observe(job(active=2), running(0), running(1))

    assert seen.phase is Phase.RUNNING
    assert seen.diagnosis is None
    assert seen.started_at == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert seen.attempt == ATTEMPT


def test_worker_that_cannot_be_scheduled_is_shown():
    """Rank 0 waits for it: nothing trains."""
    seen = observe(job(active=2), running(0), pod(1, "Pending", conditions=NO_NODE))

    assert seen.phase is Phase.QUEUED
    assert seen.diagnosis.reason == "unschedulable_cpu"
    assert seen.diagnosis.message.startswith("Worker 1: No node can take the experiment: 0/3")


def test_cause_of_any_pending_worker_is_shown():
    pulling = pod(0, "Pending", {"waiting": {"reason": "ContainerCreating"}})
    missing = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    seen = observe(job(active=2), pulling, pod(1, "Pending", missing))

    assert seen.phase is Phase.QUEUED
    assert seen.diagnosis.reason == "image_not_pulled"
    assert seen.diagnosis.message.startswith("Worker 1: ")


def test_worker_without_a_pod_is_waited_for():
    quota = {
        "involvedObject": {"uid": "job-uid"},
        "reason": "FailedCreate",
        "message": "pods is forbidden: exceeded quota: team",
        "lastTimestamp": "2026-01-01T00:00:30Z",
    }
    seen = observe(job(active=1), running(0), warnings=[quota])

    assert seen.phase is Phase.QUEUED
    assert seen.diagnosis.reason == "quota_exceeded"
    assert observe(job(active=1), running(0)).phase is Phase.QUEUED


def test_dead_node_of_any_worker_is_shown():
    silent = running(1, conditions=[])
    seen = observe(job(active=2), running(0), silent, ready=lambda node: node != "node-1")

    assert seen.phase is Phase.RUNNING
    assert seen.diagnosis.reason == "node_not_ready"
    assert "node-1" in seen.diagnosis.message


def test_gang_with_a_failed_worker_is_about_to_end():
    """Until the Job controller has ended it, it is neither running nor failed."""
    assert observe(job(active=1), running(0), ended(1, 137)).phase is Phase.UNKNOWN


def test_gang_that_cannot_end_says_why():
    """Nobody reports that a pod has ended whose node has died with it."""
    silent = running(0, conditions=[], deleted=True)
    seen = observe(job(active=1), silent, ended(1, 137), ready=lambda node: node != "node-0")

    assert seen.phase is Phase.RUNNING
    assert seen.diagnosis.reason == "node_not_ready"
    assert seen.diagnosis.message.startswith("Worker 0: The node node-0 does not answer")


def test_finished_worker_waits_for_the_others():
    assert observe(job(active=1), running(0), ended(1, 0)).phase is Phase.RUNNING
    assert observe(job(), ended(0, 0), ended(1, 0)).phase is Phase.UNKNOWN


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        (
            [ended(0, EXIT_PEER_LOST, message="a worker is gone"), ended(1, 3, message="boom")],
            "trainer_failed",
            "Worker 1: The trainer exited with code 3: boom",
        ),
        (  # ended by the Job controller, after the failure
            [ended(0, 143, "2026-01-01T00:00:55Z"), ended(1, 2, message="no rows")],
            "input_unusable",
            "Worker 1: The trainer cannot use its input: no rows",
        ),
        (
            [ended(0, 1, "2026-01-01T00:00:49Z"), ended(1, 1)],
            "trainer_failed",
            "Worker 0: The trainer exited with code 1",
        ),
        (
            [
                ended(0, EXIT_PEER_LOST, "2026-01-01T00:00:40Z"),
                pod(1, "Failed", reason="Evicted", message="low on memory"),
            ],
            "evicted",
            "Worker 1: The node evicted the experiment: low on memory",
        ),
        ([], "job_failed", "Kubernetes ended the Job: the limit"),
    ],
)
def test_worker_to_blame_is_named(pods, reason, words):
    seen = observe(failed(), *pods)

    assert seen.phase is Phase.FAILED
    assert seen.diagnosis.reason == reason
    assert seen.diagnosis.message.startswith(words)


def test_deadline_is_that_of_the_job():
    seen = observe(failed("DeadlineExceeded"), ended(0, 143), ended(1, 143))

    assert seen.diagnosis.reason == "deadline_exceeded"
    assert seen.diagnosis.message.startswith("The experiment took longer")


def test_gang_has_succeeded_once_its_job_has():
    done = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}
    assert observe(job(conditions=[done]), ended(0, 0), ended(1, 0)).phase is Phase.SUCCEEDED


def test_newest_pod_of_each_worker_counts():
    """Its queue took back the place of the gang, and has admitted it again."""
    before = [ended(rank, 143, created="2026-01-01T00:00:00Z") for rank in (0, 1)]
    assert observe(job(active=2), *before, running(0), running(1)).phase is Phase.RUNNING
    back = observe(job(suspend=True), *before)
    assert (back.phase, back.suspended) == (Phase.QUEUED, True)


def test_memory_of_all_workers_together():
    seen = observe(job(active=2), running(0), running(1))
    assert seen.memory_limit == 2 * 1024 * MIB


def test_leaving_parts_are_those_of_workers():
    pods = [running(0, deleted=True), running(1, deleted=True)]
    seen = observe(job(active=2), *pods)

    names = [f"20260101T000001Z-{ATTEMPT.handle}-{rank}-abcde" for rank in (0, 1)]
    assert seen.leaving == tuple(enumerate(names))
    orphans = observation_of_orphans(pods, around())
    assert orphans is not None
    assert orphans.leaving == seen.leaving


def test_job_with_another_name_is_not_ours():
    """The name of a gang follows from its number of nodes, too."""
    longest = replace(ATTEMPT, experiment_id="x" * 200)
    body = render(longest, SETTINGS)
    assert observe(body).attempt == longest
    body["metadata"]["name"] = replace(longest, nodes=None).handle
    assert observe(body).attempt is None
