import json
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


def see(job, *pods, **surroundings):
    return observation(job, list(pods), around(**surroundings))


def ended(code, reason="Error", message=""):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


READY = {"type": "Ready", "status": "True"}
RUNNING = {"running": {"startedAt": STARTED}}


def test_a_complete_job_has_succeeded():
    done = pod("Succeeded", state={"terminated": {"exitCode": 0, "startedAt": STARTED}})
    seen = see(job(conditions=[condition("Complete")], completionTime=ENDED), done)

    assert seen.phase is Phase.SUCCEEDED
    assert seen.uid == "u"
    assert seen.started_at == datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert seen.finished_at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def test_a_job_whose_pod_is_done_has_not_ended_yet():
    assert see(job(active=1), pod("Succeeded", state=ended(0))).phase is Phase.QUEUED


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
def test_a_run_whose_job_is_gone_is_not_over_before_its_pods_are(phase):
    left = pod(phase)
    left["metadata"]["annotations"] = {"hello-flask/uid": "u"}

    seen = observation_of_orphans([pod("Failed"), left], around())

    assert (seen.phase, seen.uid) == (Phase.UNKNOWN, "u")
    assert len(seen.leaving) == 2


def test_a_run_whose_job_and_trainers_are_gone_is_over():
    unscheduled = pod("Pending")
    del unscheduled["spec"]["nodeName"]

    assert observation_of_orphans([], around()) is None
    assert observation_of_orphans([pod("Failed"), pod("Succeeded"), unscheduled], around()) is None


def test_a_run_whose_job_is_gone_and_whose_node_is_dead_is_over():
    assert observation_of_orphans([pod("Running")], around(node_is_ready=False)) is None


def test_a_new_job_is_queued():
    assert see(job()).phase is Phase.QUEUED
    assert see({"metadata": {"name": "j"}}).phase is Phase.QUEUED


def test_a_job_runs_when_its_pod_runs():
    seen = see(job(active=1), pod("Running", state=RUNNING, conditions=[READY]))

    assert seen.phase is Phase.RUNNING
    assert seen.diagnosis is None


def test_a_pod_that_was_replaced_does_not_count():
    old = pod("Failed", state=ended(137), created="2026-01-01T00:00:00Z")
    new = pod("Running", state=RUNNING, conditions=[READY], created="2026-01-01T00:00:09Z")

    assert see(job(active=1, failed=1), new, old).phase is Phase.RUNNING


def test_between_two_pods_the_first_ones_end_is_told():
    seen = see(job(failed=1), pod("Failed", state=ended(1, message="Traceback")))

    assert seen.phase is Phase.QUEUED
    assert seen.diagnosis.reason == "trainer_failed"


def test_a_phase_that_nobody_knows_changes_nothing():
    assert see(job(active=1), pod("Sleeping")).phase is Phase.UNKNOWN
    assert see(job(active=1), pod("Unknown")).phase is Phase.UNKNOWN


def test_a_job_that_is_being_deleted_changes_nothing():
    deleted = job(active=1)
    deleted["metadata"]["deletionTimestamp"] = ENDED

    assert see(deleted, pod("Running", state=RUNNING)).phase is Phase.UNKNOWN


def test_a_job_that_is_being_deleted_is_nobodys_run_any_more():
    attempt = Attempt("a", "u", "autoencoder", 0.1, 1, None, 1)
    rendered = render(attempt, Settings.from_environment({}))
    assert see(rendered).attempt == attempt

    rendered["metadata"]["deletionTimestamp"] = ENDED
    rendered["status"] = {"conditions": [condition("Complete")]}
    assert see(rendered).attempt is None


def test_a_dead_node_is_told_from_a_slow_pod():
    lost = pod("Running", state=RUNNING)

    assert see(job(active=1), lost).diagnosis is None
    assert see(job(active=1), lost, node_is_ready=False).diagnosis.reason == "node_not_ready"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("0/1 nodes are available: 1 Insufficient cpu.", "unschedulable_cpu"),
        ("0/1 nodes are available: 1 Insufficient memory.", "unschedulable_memory"),
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", "unschedulable_gpu"),
        ("1 node(s) had volume node affinity conflict.", "unschedulable_volume"),
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
def test_why_no_node_takes_a_pod(message, reason):
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    seen = see(job(active=1), pod("Pending", conditions=[unschedulable | {"message": message}]))

    assert seen.phase is Phase.QUEUED
    assert seen.diagnosis.reason == reason
    assert message in seen.diagnosis.message


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ErrImagePull", "image_not_pulled"),
        ("ImagePullBackOff", "image_not_pulled"),
        ("InvalidImageName", "image_not_pulled"),
        ("CreateContainerConfigError", "container_not_started"),
    ],
)
def test_why_a_container_does_not_start(waiting, reason):
    seen = see(job(active=1), pod("Pending", state={"waiting": {"reason": waiting}}))

    assert seen.diagnosis.reason == reason
    assert seen.diagnosis.remedy


def test_a_container_that_is_being_made_is_no_trouble():
    waiting = {"waiting": {"reason": "ContainerCreating"}}

    assert see(job(active=1), pod("Pending", state=waiting)).diagnosis is None


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
def test_why_a_job_has_failed(why, state, pod_reason, reason):
    failed = job(conditions=[condition("Failed", why)])
    seen = see(failed, pod("Failed", state=state, reason=pod_reason))

    assert seen.phase is Phase.FAILED
    assert seen.diagnosis.reason == reason
    assert seen.finished_at == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def test_a_failed_job_whose_pods_are_gone_still_says_something():
    seen = see(job(conditions=[condition("Failed", "BackoffLimitExceeded")]))

    assert seen.diagnosis.reason == "job_failed"


def test_the_trainers_last_words_reach_the_user_on_one_line():
    failed = job(conditions=[condition("Failed")])
    seen = see(failed, pod("Failed", state=ended(2, message="error: NaN in\n  digits.npz\n")))

    assert "error: NaN in digits.npz" in seen.diagnosis.message


RUN = Attempt("첫 번째", "uid-1", "autoencoder", 0.001, 20, "digits.npz", 2)
SETTINGS = Settings.from_environment({"LAUNCHER": "kubernetes", "AE_MODEL_IMAGE_URL": "i:1"})


def test_a_job_tells_the_run_that_it_was_made_for():
    assert see(render(RUN, SETTINGS)).attempt == RUN


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
    ],
)
def test_a_job_that_somebody_has_edited_tells_no_run(change):
    edited = render(RUN, SETTINGS)
    text = "no JSON" if change is None else json.dumps(RUN.to_fields() | change)
    edited["metadata"]["annotations"]["hello-flask/run"] = text

    assert see(edited).attempt is None
