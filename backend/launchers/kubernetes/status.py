"""What a Job and its pods amount to. Pure: dicts as the API server gives them in, Observation out.

A Job is finished only on its condition Complete or Failed; `completionTime` stands only on
success (Kubernetes documentation, Jobs). Its pods say whether it runs or waits.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.domain.attempt import Attempt, Diagnosis
from backend.launchers.base import Observation, Phase
from backend.launchers.kubernetes import diagnosis
from backend.launchers.kubernetes.manifest import RUN, UID

START_TIME = timedelta(seconds=3)


@dataclass(frozen=True)
class Surroundings:
    """What else can be asked, and is asked only if Job and pods leave something unexplained.

    Attributes:
        node_is_ready: asked for the node of a running pod that is not ready.
        warnings: give the events of type Warning of the namespace; asked if a Job has no pod, or
            its pod waits, for longer than it should take.
        now: the time.
    """

    node_is_ready: Callable[[str], bool]
    warnings: Callable[[], list[dict[str, Any]]]
    now: datetime


def observation(
    job: dict[str, Any], pods: list[dict[str, Any]], around: Surroundings
) -> Observation:
    """Turn a Job and its pods into what we say of the run."""
    leaving = tuple(part_of(pod) for pod in pods if pod["metadata"].get("deletionTimestamp"))
    seen = _observation(job, pods, around)
    return replace(seen, attempt=attempt_of(job), leaving=leaving)


def of_pods_left(pods: list[dict[str, Any]], around: Surroundings) -> Observation | None:
    """Say of a run whose Job was deleted that it is not over yet, or None once it is.

    The garbage collector ends the pods after the Job is gone, and a trainer may take its time to
    write its last checkpoint. What was never started, or died with its node, is not waited for:
    the kubelet there cannot say its end any more.
    """
    for pod in pods:
        node = (pod.get("spec") or {}).get("nodeName")
        ended = _phase(pod) in ("Succeeded", "Failed")
        if node and not ended and around.node_is_ready(node):
            uid = (pod["metadata"].get("annotations") or {}).get(UID, "")
            return Observation(uid, Phase.UNKNOWN, leaving=tuple(map(part_of, pods)))
    return None


def attempt_of(job: dict[str, Any]) -> Attempt | None:
    """Read the run that a Job was made for from its annotations, or None if they do not say.

    None too if the Job is being deleted: nobody is to take it for a run of theirs any more.
    """
    if job["metadata"].get("deletionTimestamp"):
        return None
    annotations = job["metadata"].get("annotations") or {}
    try:
        attempt = Attempt.from_fields(json.loads(annotations.get(RUN, "")))
    except ValueError:
        return None
    named = attempt and (attempt.handle, attempt.uid) == (
        job["metadata"]["name"],
        annotations.get(UID),
    )
    return attempt if named else None


def _observation(
    job: dict[str, Any], pods: list[dict[str, Any]], around: Surroundings
) -> Observation:
    status = job.get("status") or {}
    pods = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
    uid = (job["metadata"].get("annotations") or {}).get(UID, "")
    started_at = _started_at(pods) or parse_time(status.get("startTime"))
    for condition in status.get("conditions") or []:
        if condition.get("status") != "True":
            continue
        ended = status.get("completionTime") or condition.get("lastTransitionTime")
        if condition.get("type") == "Complete":
            return Observation(uid, Phase.SUCCEEDED, started_at, parse_time(ended))
        if condition.get("type") == "Failed":
            why = diagnosis.diagnose_failed(condition, pods)
            return Observation(uid, Phase.FAILED, started_at, parse_time(ended), why)
    if job["metadata"].get("deletionTimestamp"):
        return Observation(uid, Phase.UNKNOWN)
    live = [pod for pod in pods if _phase(pod) not in ("Succeeded", "Failed")]
    if not live:
        warnings = around.warnings() if _is_old(job, around.now) else []
        podless = diagnosis.diagnose_without_pod(job, warnings)
        return Observation(uid, Phase.QUEUED, diagnosis=podless or diagnosis.diagnose_restart(pods))
    pod = live[-1]
    match _phase(pod):
        case "Running":
            lost = _dead_node(pod, around.node_is_ready)
            return Observation(uid, Phase.RUNNING, started_at, None, lost)
        case "Pending":
            why_waiting = diagnosis.diagnose_pending(pod)
            if why_waiting is None and _is_old(pod, around.now):
                why_waiting = diagnosis.diagnose_unmounted(pod, around.warnings())
            return Observation(uid, Phase.QUEUED, diagnosis=why_waiting)
        case _:
            return Observation(uid, Phase.UNKNOWN, diagnosis=_dead_node(pod, around.node_is_ready))


def part_of(pod: dict[str, Any]) -> str:
    """Name the part of a log that a pod prints; in alphabetical order they are in order of age."""
    metadata = pod["metadata"]
    created = re.sub("[-:]", "", str(metadata["creationTimestamp"]))
    return f"{created}-{metadata['name']}"


def parse_time(text: str | None) -> datetime | None:
    """Read a time as Kubernetes writes it (RFC 3339, UTC), or None."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _is_old(thing: dict[str, Any], now: datetime) -> bool:
    """Tell whether a Job or pod is there for longer than it takes to start one."""
    since = parse_time(thing["metadata"].get("creationTimestamp"))
    return since is not None and now - since > START_TIME


def _phase(pod: dict[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase"))


def _dead_node(pod: dict[str, Any], node_is_ready: Callable[[str], bool]) -> Diagnosis | None:
    """Look for a dead node behind a pod that is said to run: the kubelet cannot say it any more."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    node = (pod.get("spec") or {}).get("nodeName")
    if ready or not node or node_is_ready(node):
        return None
    return diagnosis.node_not_ready(node)


def _started_at(pods: list[dict[str, Any]]) -> datetime | None:
    """Find when the first of the pods began to train."""
    times = []
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            state = container.get("state") or {}
            since = (state.get("running") or state.get("terminated") or {}).get("startedAt")
            times += [parse_time(since)] if since else []
    return min((time for time in times if time), default=None)
