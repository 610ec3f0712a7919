import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backend.domain.attempt import Attempt
from backend.launchers.base import Phase
from backend.launchers.kubernetes.manifest import render
from backend.launchers.kubernetes.status import Surroundings, observation, observation_of_orphans
from backend.settings import Settings

STARTED = "2026-01-01T00:00:05Z"
ENDED = "2026-01-01T00:01:00Z"
NOW = datetime(2026, 1, 1, 0, 2, tzinfo=UTC)


def job(**status):
    return {"metadata": {"name": "j", "annotations": {"hello-flask/uid": "u"}}, "status": status}


def condition(kind, reason=None):
    return {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": ENDED}


def pod(phase, *, state=None, conditions=(), reason=None, created="2026-01-01T00:00:00Z"):
    containers = [{"name": "train", "image": "i:1", "state": state or {}}]
    status = {"phase": phase, "containerStatuses": containers, "conditions": list(conditions)}
    return {
        "metadata": {"name": "p", "creationTimestamp": created},
        "spec": {"nodeName": "n"},
        "status": status | ({"reason": reason, "message": "why"} if reason else {}),
    }


def around(*, node_is_ready=True, warnings=(), now=NOW):
    return Surroundings(lambda _node: node_is_ready, lambda: list(warnings), now)


def observe(job, *pods, **surroundings):
    return observation(job, list(pods), around(**surroundings))


def ended(code, reason="Error", message=""):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


READY = {"type": "Ready", "status": "True"}
RUNNING = {"running": {"startedAt": STARTED}}


def test_complete_job_has_succeeded():
    done = pod("Succeeded", state={"terminated": {"exitCode": 0, "startedAt": STARTED}})
    observed = observe(job(conditions=[condition("Complete")], completionTime=ENDED), done)

    assert observed.phase is Phase.SUCCEEDED
    assert observed.uid == "u"
    assert observed.started_at == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert observed.finished_at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def test_done_pod_of_active_job_changes_nothing():
    """Neither queued, as nothing is to be started, nor succeeded yet."""
    assert observe(job(active=1), pod("Succeeded", state=ended(0))).phase is Phase.UNKNOWN


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("Pending", Phase.UNKNOWN), ("Running", Phase.RUNNING), ("Unknown", Phase.UNKNOWN)],
)
def test_pods_outlive_their_job(phase, expected):
    """An attempt whose Job is gone ends with its last pod, not before."""
    remaining = pod(phase)
    remaining["metadata"]["annotations"] = {"hello-flask/uid": "u"}

    observed = observation_of_orphans([pod("Failed"), remaining], around())

    assert (observed.phase, observed.uid) == (expected, "u")
    assert len(observed.leaving) == 2


def test_no_job_and_no_live_pod():
    assert observation_of_orphans([], around()) is None
    assert observation_of_orphans([pod("Failed"), pod("Succeeded")], around()) is None


def test_no_job_and_an_unscheduled_pod():
    """It may still get a node, until the garbage collector deletes it."""
    unscheduled = pod("Pending")
    del unscheduled["spec"]["nodeName"]

    seen = observation_of_orphans([unscheduled], around(node_is_ready=False))
    assert seen.phase is Phase.UNKNOWN


def test_no_job_and_dead_node():
    assert observation_of_orphans([pod("Running")], around(node_is_ready=False)) is None


def test_new_job_is_queued():
    assert observe(job()).phase is Phase.QUEUED
    assert observe({"metadata": {"name": "j"}}).phase is Phase.QUEUED


def test_running_pod_means_running():
    observed = observe(job(active=1), pod("Running", state=RUNNING, conditions=[READY]))

    assert observed.phase is Phase.RUNNING
    assert observed.diagnosis is None


def test_replaced_pod_is_ignored():
    old = pod("Failed", state=ended(137), created="2026-01-01T00:00:00Z")
    new = pod("Running", state=RUNNING, conditions=[READY], created="2026-01-01T00:00:09Z")

    assert observe(job(active=1, failed=1), new, old).phase is Phase.RUNNING


def test_failed_pod_before_next_one():
    observed = observe(job(failed=1), pod("Failed", state=ended(1, message="Traceback")))

    assert observed.phase is Phase.QUEUED
    assert observed.diagnosis.reason == "trainer_failed"


def test_unknown_pod_phase():
    assert observe(job(active=1), pod("Sleeping")).phase is Phase.UNKNOWN
    assert observe(job(active=1), pod("Unknown")).phase is Phase.UNKNOWN


def test_deleted_job_phase_is_unknown():
    deleted = job(active=1)
    deleted["metadata"]["deletionTimestamp"] = ENDED

    assert observe(deleted, pod("Running", state=RUNNING)).phase is Phase.UNKNOWN


def test_deleted_job_has_no_attempt():
    attempt = Attempt("a", "u", "autoencoder", 0.1, 1, None, 1)
    rendered = render(attempt, Settings.from_environment({}))
    assert observe(rendered).attempt == attempt

    rendered["metadata"]["deletionTimestamp"] = ENDED
    rendered["status"] = {"conditions": [condition("Complete")]}
    assert observe(rendered).attempt is None


def test_dead_node_is_diagnosed():
    lost = pod("Running", state=RUNNING)

    assert observe(job(active=1), lost).diagnosis is None
    assert observe(job(active=1), lost, node_is_ready=False).diagnosis.reason == "node_not_ready"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("0/1 nodes are available: 1 Insufficient cpu.", "unschedulable_cpu"),
        ("0/1 nodes are available: 1 Insufficient memory.", "unschedulable_memory"),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "unschedulable_gpu"),
        ("1 node(s) had volume node affinity conflict.", "unschedulable_volume"),
        (
            "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity. "
            "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is "
            "not helpful for scheduling.",
            "unschedulable_volume",
        ),
        (
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match "
            "PersistentVolume's node affinity. no new claims to deallocate, preemption: 0/3 nodes "
            "are available: 3 Preemption is not helpful for scheduling.",
            "unschedulable_cordoned",
        ),
        (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
            "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is "
            "not helpful for scheduling.",
            "unschedulable_affinity",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to "
            "deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for "
            "scheduling.",
            "unschedulable_affinity",
        ),
        ('persistentvolumeclaim "input-pvc" not found', "claim_missing"),
        (
            "0/1 nodes are available: 1 pod has unbound immediate PersistentVolumeClaims.",
            "claim_unbound",
        ),
        ("1 node(s) didn't match node selector", "unschedulable_affinity"),
        ("1 node(s) had taint {a: b}, that the pod didn't tolerate", "unschedulable_affinity"),
        ("a word of next year", "unschedulable"),
    ],
)
def test_unschedulable_reasons(message, reason):
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    observed = observe(
        job(active=1), pod("Pending", conditions=[unschedulable | {"message": message}])
    )

    assert observed.phase is Phase.QUEUED
    assert observed.diagnosis.reason == reason
    assert message in observed.diagnosis.message


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ErrImagePull", "image_not_pulled"),
        ("ImagePullBackOff", "image_not_pulled"),
        ("InvalidImageName", "image_not_pulled"),
        ("CreateContainerConfigError", "container_not_started"),
    ],
)
def test_container_start_reasons(waiting, reason):
    observed = observe(job(active=1), pod("Pending", state={"waiting": {"reason": waiting}}))

    assert observed.diagnosis.reason == reason
    assert observed.diagnosis.remedy


def test_container_creating_is_normal():
    waiting = {"waiting": {"reason": "ContainerCreating"}}

    assert observe(job(active=1), pod("Pending", state=waiting)).diagnosis is None


@pytest.mark.parametrize(
    ("why", "state", "pod_reason", "reason"),
    [
        ("BackoffLimitExceeded", ended(137, "OOMKilled"), None, "out_of_memory"),
        ("BackoffLimitExceeded", ended(137), "Evicted", "evicted"),
        ("PodFailurePolicy", ended(2, message="error: no data"), None, "input_unusable"),
        ("BackoffLimitExceeded", ended(1, message="Traceback"), None, "trainer_failed"),
        ("DeadlineExceeded", RUNNING, None, "deadline_exceeded"),
    ],
)
def test_failure_reasons(why, state, pod_reason, reason):
    failed = job(conditions=[condition("Failed", why)])
    observed = observe(failed, pod("Failed", state=state, reason=pod_reason))

    assert observed.phase is Phase.FAILED
    assert observed.diagnosis.reason == reason
    assert observed.finished_at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def test_failed_job_without_pods():
    observed = observe(job(conditions=[condition("Failed", "BackoffLimitExceeded")]))

    assert observed.diagnosis.reason == "job_failed"


def test_trainer_message_on_one_line():
    failed = job(conditions=[condition("Failed")])
    observed = observe(
        failed, pod("Failed", state=ended(2, message="error: NaN in\n  digits.npz\n"))
    )

    assert "error: NaN in digits.npz" in observed.diagnosis.message


ATTEMPT = Attempt("첫 번째", "uid-1", "autoencoder", 0.001, 20, "digits.npz", 2)
SETTINGS = Settings.from_environment({"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "i:1"})


def test_attempt_read_from_job():
    assert observe(render(ATTEMPT, SETTINGS)).attempt == ATTEMPT
    chosen = replace(
        ATTEMPT, model_parameters='{"text":"가"}', size="large", entry_sha256="0f" * 32
    )
    assert observe(render(chosen, SETTINGS)).attempt == chosen


def test_image_that_was_pulled():
    older, newer = pod("Failed", state=ended(137)), pod("Running", state=RUNNING)
    for one, digest in ((older, "sha256:1"), (newer, "sha256:2")):
        for container in one["status"]["containerStatuses"]:
            container |= {"name": "train", "imageID": f"registry/ours@{digest}"}
    older["metadata"]["creationTimestamp"] = "2024-02-29T11:00:00Z"
    newer["metadata"]["creationTimestamp"] = "2024-02-29T12:00:00Z"

    assert observe(job(active=1), newer, older).image == "registry/ours@sha256:2"
    assert observe(job(active=1), pod("Pending")).image is None


@pytest.mark.parametrize(
    "change",
    [
        None,
        {"experiment_id": "../../etc"},
        {"experiment_id": "another"},
        {"uid": "another"},
        {"learning_rate": "0.001"},
        {"epoch": True},
        {"attempt": 0},
        {"dataset": 1},
        {"more": 1},
        {"model_parameters": 1},
        {"model_parameters": "{"},
        {"model_parameters": "[]"},
        {"model_parameters": "[" * 99_999},
        {"size": 1},
        {"entry_sha256": ["x"]},
    ],
)
def test_edited_job_has_no_attempt(change):
    edited = render(ATTEMPT, SETTINGS)
    text = "no JSON" if change is None else json.dumps(ATTEMPT.to_fields() | change)
    edited["metadata"]["annotations"]["hello-flask/run"] = text

    assert observe(edited).attempt is None
