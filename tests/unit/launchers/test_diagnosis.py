"""Diagnoses of Jobs, pods and events recorded on a real cluster (Kubernetes 1.20)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.launchers.base import Phase
from backend.launchers.kubernetes.status import Surroundings, observation

REAL = json.loads(Path(__file__).with_name("trouble.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 11, 25, 15, 22, tzinfo=UTC)
REASONS = {
    "image": (Phase.QUEUED, "image_not_pulled"),
    "cpu": (Phase.QUEUED, "unschedulable_cpu"),
    "mem": (Phase.QUEUED, "unschedulable_memory"),
    "gpu": (Phase.QUEUED, "unschedulable_gpu"),
    "affinity": (Phase.QUEUED, "unschedulable_affinity"),
    "pvcmissing": (Phase.QUEUED, "claim_missing"),
    "pvcunbound": (Phase.QUEUED, "claim_unbound"),
    "nodir": (Phase.QUEUED, "volume_not_mounted"),
    "config": (Phase.QUEUED, "container_not_started"),
    "quota": (Phase.QUEUED, "quota_exceeded"),
    "oom": (Phase.FAILED, "out_of_memory"),
    "deadline": (Phase.FAILED, "deadline_exceeded"),
    "deleted": (Phase.RUNNING, None),  # nothing has happened to it yet
}


def unexpected_call():
    raise AssertionError("the events were read")


def observe(name, *, now=NOW, warnings=lambda: REAL["warnings"]):
    (job,) = (
        document
        for document in REAL["jobs"]
        if document["metadata"]["annotations"]["hello-flask/experiment-id"] == name
    )
    handle = job["metadata"]["name"]
    pods = [
        document
        for document in REAL["pods"]
        if document["metadata"]["labels"]["job-name"] == handle
    ]
    return observation(job, pods, Surroundings(lambda _node: True, warnings, now))


@pytest.mark.parametrize("name", REASONS)
def test_each_trouble_has_its_reason(name):
    observed = observe(name)

    assert (observed.phase, observed.diagnosis and observed.diagnosis.reason) == REASONS[name]
    assert observed.diagnosis is None or observed.diagnosis.remedy


@pytest.mark.parametrize("name", sorted(set(REASONS) - {"nodir", "quota"}))
def test_events_read_only_when_needed(name):
    observed = observe(name, warnings=unexpected_call)

    assert (observed.phase, observed.diagnosis and observed.diagnosis.reason) == REASONS[name]


@pytest.mark.parametrize("name", ["nodir", "quota"])
def test_new_job_is_not_diagnosed(name):
    just_begun = datetime(2026, 11, 25, 15, 21, 38, tzinfo=UTC) + timedelta(seconds=1)

    assert observe(name, now=just_begun, warnings=unexpected_call).diagnosis is None


def test_newest_event_wins():
    handle = observe("quota").diagnosis.message
    older, newer = (e for e in REAL["warnings"] if e["reason"] == "FailedCreate")
    assert older["lastTimestamp"] < newer["lastTimestamp"]

    assert newer["message"] in handle
    assert observe("quota", warnings=lambda: [newer, older]).diagnosis.message == handle


def test_events_of_other_objects_ignored():
    others = [event | {"involvedObject": {"uid": "another"}} for event in REAL["warnings"]]

    assert observe("quota", warnings=lambda: others).diagnosis is None


def test_suspended_job():
    """Without a queue, nothing but a person resumes it."""
    job = {"metadata": {"name": "j"}, "spec": {"suspend": True}}
    around = Surroundings(lambda _node: True, unexpected_call, NOW, unexpected_call)

    seen = observation(job, [], around)

    assert (seen.phase, seen.suspended) == (Phase.QUEUED, True)
    assert seen.diagnosis.reason == "suspended"
    assert "no queue" in seen.diagnosis.message


def test_disrupted_pod_was_evicted():
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    message = {"message": "Eviction API: evicting"}
    pod = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Failed", "conditions": [condition | message]},
    }
    around = Surroundings(lambda _node: True, unexpected_call, NOW)
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    job = {"metadata": {"name": "j"}, "status": {"conditions": [failed]}}

    observed = observation(job, [pod], around)

    assert observed.diagnosis.reason == "evicted"
    assert "Eviction API: evicting" in observed.diagnosis.message
