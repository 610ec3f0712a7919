"""The words of Kubernetes 1.29 to 1.36, by version, and the reason that each sample must lead to.

The samples are in the words of the sources of the scheduler, the kubelet and the controllers.
"""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.launchers.base import Phase
from backend.launchers.kubernetes.status import Surroundings, observation

SAMPLES = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
VERSIONS = range(29, 37)
CREATED, SEEN = "2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z"
NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
QUOTA = "Error creating: pods are forbidden: exceeded quota: team, requested: pods=1"


def minors(versions):
    """Return the minor versions of `1.29-1.36` or `1.33`."""
    first, _, last = versions.partition("-")
    minor = [int(re.fullmatch(r"1\.(\d+)", each)[1]) for each in (first, last or first)]
    return range(minor[0], minor[1] + 1)


def pod_of(status, created=CREATED):
    metadata = {"name": "p", "uid": "pod", "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}


def job_of(**status):
    return {"metadata": {"name": "j", "uid": "job", "creationTimestamp": CREATED}, "status": status}


def event_of(of, reason, message, seen=SEEN):
    return {
        "involvedObject": {"uid": of},
        "reason": reason,
        "message": message,
        "lastTimestamp": seen,
    }


def observe(job, pods, events=()):
    return observation(job, pods, Surroundings(lambda _node: True, lambda: list(events), NOW))


def observe_sample(sample):
    conditions = []
    if "failed" in sample:
        conditions = [{"type": "Failed", "status": "True", "lastTransitionTime": SEEN}]
        conditions[0] |= sample["failed"]
    pods, events = [], []
    if "pod" in sample:
        pods = [pod_of(sample["pod"])]
    if "event" in sample:
        event = sample["event"]
        events = [event_of(event["involvedObject"], event["reason"], event["message"])]
        if event["involvedObject"] == "pod":
            pods = [pod_of({"phase": "Pending"})]
    return observe(job_of(conditions=conditions), pods, events)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["versions"])
def test_each_sample_has_its_reason(sample):
    observed = observe_sample(sample)

    assert observed.phase is (Phase.FAILED if "failed" in sample else Phase.QUEUED)
    assert (observed.diagnosis and observed.diagnosis.reason) == sample["reason"], sample
    assert observed.diagnosis is None or observed.diagnosis.remedy


@pytest.mark.parametrize("minor", VERSIONS)
def test_samples_cover_every_version(minor):
    reasons = {s["reason"] for s in SAMPLES if minor in minors(s["versions"])}

    assert reasons >= {
        "claim_missing",
        "claim_unbound",
        "container_not_started",
        "deadline_exceeded",
        "evicted",
        "image_not_pulled",
        "input_unusable",
        "out_of_memory",
        "pod_refused",
        "quota_exceeded",
        "unschedulable_affinity",
        "unschedulable_cordoned",
        "unschedulable_cpu",
        "unschedulable_gpu",
        "unschedulable_memory",
        "unschedulable_volume",
        "volume_not_mounted",
    }


def test_quota_event_before_the_last_pod_is_stale():
    """The pod that could not be created then was created since, and has ended."""
    refused = event_of("job", "FailedCreate", QUOTA, seen="2026-01-01T00:00:05Z")
    ended = {"name": "train", "state": {"terminated": {"exitCode": 1, "message": "Traceback"}}}
    status = {"phase": "Failed", "containerStatuses": [ended]}

    after = observe(job_of(failed=1), [pod_of(status, "2026-01-01T00:00:20Z")], [refused])
    before = observe(job_of(failed=1), [pod_of(status, "2026-01-01T00:00:01Z")], [refused])

    assert after.diagnosis.reason == "trainer_failed"
    assert before.diagnosis.reason == "quota_exceeded"


def test_quota_event_of_an_active_job_is_stale():
    """Its pod was deleted, and the Job controller does not know yet."""
    refused = event_of("job", "FailedCreate", QUOTA)

    assert observe(job_of(active=1), [], [refused]).diagnosis is None
    assert observe(job_of(), [], [refused]).diagnosis.reason == "quota_exceeded"


@pytest.mark.parametrize("reason", ["FailedMount", "FailedCreatePodSandBox"])
def test_event_of_a_prepared_pod_is_stale(reason):
    """Its volumes are mounted since; its image may take long to pull."""
    prepared = {"type": "PodReadyToStartContainers", "status": "True"}
    failed = event_of("pod", reason, "why")

    for condition, is_stale in ((prepared, True), (prepared | {"status": "False"}, False)):
        status = {"phase": "Pending", "conditions": [condition]}
        diagnosis = observe(job_of(active=1), [pod_of(status)], [failed]).diagnosis
        assert (diagnosis is None) is is_stale
