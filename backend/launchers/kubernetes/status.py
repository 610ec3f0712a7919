"""The observation of a Job and its pods. Pure: takes Kubernetes objects as dicts."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backend.domain.attempt import Attempt, Diagnosis
from backend.domain.execution.quantities import parse_quantity
from backend.domain.execution.usage import read_usage
from backend.launchers.base import Observation, Phase
from backend.launchers.kubernetes import diagnosis
from backend.launchers.kubernetes.gangs.indexed_job import is_gang, nodes_of, rank_of
from backend.launchers.kubernetes.gangs.pods import by_blame, newest_by_rank, of_worker
from backend.launchers.kubernetes.manifest import CONTAINER, RUN, UID
from backend.launchers.kubernetes.pod_states import ENDED_POD_PHASES, is_leaving, part_of
from backend.launchers.kubernetes.queues import kueue

# A Job has ended only if one of these conditions is true. `completionTime` is set on success only
# (Kubernetes documentation, Jobs).
JOB_CONDITIONS = {
    "Complete": Phase.SUCCEEDED,
    "Failed": Phase.FAILED,
}
# Otherwise its newest pod that has not ended decides. Any other phase of a pod, such as "Unknown"
# of a lost node, is Phase.UNKNOWN.
POD_PHASES = {
    "Pending": Phase.QUEUED,  # not scheduled yet, or its image or volumes are not there yet
    "Running": Phase.RUNNING,
}
# Without such a pod the attempt is queued: the Job controller has yet to make the next pod. If the
# newest one has succeeded, it has yet to set a condition, and nothing is observed.

MAX_IMAGE = 1000  # characters
START_TIME = timedelta(seconds=3)  # within which a Job gets its pod, and a pod its volumes


@dataclass(frozen=True)
class Surroundings:
    """What is looked up only if a Job and its pods do not explain everything.

    Attributes:
        node_is_ready: called with the node of a running pod that is not ready.
        warnings: returns the events of type Warning of the namespace; called if a Job has no pod,
            or its pod is pending, for longer than START_TIME.
        now: the current time.
        held_back: called with a suspended Job that has a queue; returns why it is suspended.
    """

    node_is_ready: Callable[[str], bool]
    warnings: Callable[[], list[dict[str, Any]]]
    now: datetime
    held_back: Callable[[dict[str, Any]], Diagnosis] = lambda _job: kueue.TAKEN_UP_LATE


def observation(
    job: dict[str, Any], pods: list[dict[str, Any]], surroundings: Surroundings
) -> Observation:
    """Return the observation of an attempt from its Job and pods."""
    seen = _observation(job, pods, surroundings)
    return replace(
        seen,
        attempt=attempt_of(job),
        leaving=_parts(pod for pod in pods if is_leaving(pod)),
        image=_image(pods),
        memory_limit=_memory_limit(job),
    )


def observation_of_orphans(
    pods: list[dict[str, Any]], surroundings: Surroundings
) -> Observation | None:
    """Return the observation of an attempt whose Job was deleted, or None once it has ended.

    The garbage collector ends the pods after the Job is gone, and a trainer may take its time to
    write its last checkpoint. A pod without a node is waited for, too: until it is deleted, it may
    get one. Pods that died with their node are not: its kubelet cannot report their end.
    """
    for pod in pods:
        node = (pod.get("spec") or {}).get("nodeName")
        ended = _phase(pod) in ENDED_POD_PHASES
        if not ended and (not node or surroundings.node_is_ready(node)):
            uid = (pod["metadata"].get("annotations") or {}).get(UID, "")
            phase = Phase.RUNNING if _phase(pod) == "Running" else Phase.UNKNOWN
            return Observation(uid, phase, leaving=_parts(pods))
    return None


def attempt_of(job: dict[str, Any]) -> Attempt | None:
    """Return the attempt that a Job was made for, or None if its annotations do not name it.

    None too if the Job is being deleted, so that it is not adopted any more.
    """
    metadata = job["metadata"]
    if metadata.get("deletionTimestamp"):
        return None
    annotations = metadata.get("annotations") or {}
    try:
        attempt = Attempt.from_fields(json.loads(annotations.get(RUN, "")))
    except ValueError:
        return None
    if attempt is None or attempt.handle != metadata["name"] or attempt.uid != annotations.get(UID):
        return None
    return attempt


def _parts(pods: Iterable[dict[str, Any]]) -> tuple[tuple[int, str], ...]:
    return tuple((rank_of(pod), part_of(pod)) for pod in pods)


def parse_time(text: str | None) -> datetime | None:
    """Return a time of Kubernetes (RFC 3339, UTC) as a datetime; None for None."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _observation(
    job: dict[str, Any], pods: list[dict[str, Any]], surroundings: Surroundings
) -> Observation:
    pods = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
    uid = (job["metadata"].get("annotations") or {}).get(UID, "")
    ended = _observe_ended(uid, job, pods)
    if ended:
        return ended
    if job["metadata"].get("deletionTimestamp"):
        return Observation(uid, Phase.UNKNOWN)
    live = [pod for pod in pods if _phase(pod) not in ENDED_POD_PHASES]
    if live and is_gang(job):
        return _observe_gang(uid, job, pods, surroundings)
    if live:
        return _observe_pod(uid, live[-1], _started_at(job, pods), surroundings)
    if pods and _phase(pods[-1]) == "Succeeded":
        return Observation(uid, Phase.UNKNOWN)
    if (job.get("spec") or {}).get("suspend"):
        has_queue = kueue.QUEUE_LABEL in (job["metadata"].get("labels") or {})
        cause = surroundings.held_back(job) if has_queue else diagnosis.SUSPENDED
        return Observation(uid, Phase.QUEUED, diagnosis=cause, suspended=True)
    warnings = surroundings.warnings() if _is_old(job, surroundings.now) else []
    why = diagnosis.diagnose_without_pod(job, pods, warnings) or diagnosis.diagnose_restart(pods)
    return Observation(uid, Phase.QUEUED, diagnosis=why)


def _observe_ended(uid: str, job: dict[str, Any], pods: list[dict[str, Any]]) -> Observation | None:
    """Return the observation of a Job that has ended, or None if it has not."""
    status = job.get("status") or {}
    for condition in status.get("conditions") or []:
        phase = JOB_CONDITIONS.get(str(condition.get("type")))
        if phase is None or condition.get("status") != "True":
            continue
        ended = parse_time(status.get("completionTime") or condition.get("lastTransitionTime"))
        why = _diagnose_failed(job, condition, pods) if phase is Phase.FAILED else None
        return Observation(uid, phase, _started_at(job, pods), ended, why)
    return None


def _diagnose_failed(
    job: dict[str, Any], condition: dict[str, Any], pods: list[dict[str, Any]]
) -> Diagnosis:
    """Return why a Job has failed; of a gang, the worker to blame is named."""
    of_job = diagnosis.diagnose_failed(condition, [])
    if not is_gang(job):
        return diagnosis.diagnose_failed(condition, pods)
    for pod in by_blame(pods):
        found = diagnosis.diagnose_failed(condition, [pod])
        if found != of_job:
            return of_worker(found, rank_of(pod))
    return of_job


def _observe_gang(
    uid: str, job: dict[str, Any], pods: list[dict[str, Any]], surroundings: Surroundings
) -> Observation:
    """Return the observation of a gang with pods that have not ended; `pods` are oldest first.

    It runs once each of its workers does; until then, those that do wait for the others.
    """
    newest = newest_by_rank(pods)
    started_at, waiting = _started_at(job, pods), len(newest) < nodes_of(job)
    if any(_phase(pod) == "Failed" for pod in newest.values()):
        # The Job controller is about to end the others; on a dead node it waits for that for ever.
        for rank, pod in newest.items():
            why = _diagnose_dead_node(pod, surroundings.node_is_ready)
            if _phase(pod) == "Running" and why:
                why = of_worker(why, rank)
                return Observation(uid, Phase.RUNNING, started_at, diagnosis=why)
        return Observation(uid, Phase.UNKNOWN)
    seen: list[Observation] = []
    for rank, pod in newest.items():
        if _phase(pod) == "Succeeded":
            continue
        one = _observe_pod(uid, pod, started_at, surroundings)
        if one.diagnosis:
            one = replace(one, diagnosis=of_worker(one.diagnosis, rank))
        seen.append(one)
    seen.sort(key=lambda one: one.diagnosis is None)  # stable: by rank, those with a cause first
    for phase in (Phase.UNKNOWN, Phase.QUEUED):
        for one in seen:
            if one.phase is phase:
                return one
    if not waiting:
        return seen[0]
    # What `diagnose_without_pod` takes for a Job that lacks no pod.
    lacking = job | {"status": (job.get("status") or {}) | {"active": 0}}
    warnings = surroundings.warnings() if _is_old(job, surroundings.now) else []
    return Observation(
        uid, Phase.QUEUED, diagnosis=diagnosis.diagnose_without_pod(lacking, pods, warnings)
    )


def _observe_pod(
    uid: str, pod: dict[str, Any], started_at: datetime | None, surroundings: Surroundings
) -> Observation:
    """Return the observation of a Job whose newest pod has not ended."""
    phase = POD_PHASES.get(_phase(pod), Phase.UNKNOWN)
    if phase is Phase.QUEUED:
        why = diagnosis.diagnose_pending(pod)
        if why is None and _is_old(pod, surroundings.now):
            why = diagnosis.diagnose_unprepared(pod, surroundings.warnings())
        return Observation(uid, phase, diagnosis=why)
    why = _diagnose_dead_node(pod, surroundings.node_is_ready)
    started_at = started_at if phase is Phase.RUNNING else None
    return Observation(uid, phase, started_at, diagnosis=why)


def _is_old(thing: dict[str, Any], now: datetime) -> bool:
    """Return whether a Job or pod is older than START_TIME."""
    since = parse_time(thing["metadata"].get("creationTimestamp"))
    return since is not None and now - since > START_TIME


def _image(pods: list[dict[str, Any]]) -> str | None:
    """Return the image with its digest that the newest pod executes, once it has been pulled."""
    images = {
        str(pod["metadata"].get("creationTimestamp")): str(container["imageID"])
        for pod in pods
        for container in (pod.get("status") or {}).get("containerStatuses") or []
        if container.get("name") == CONTAINER and container.get("imageID")
    }
    return images[max(images)][:MAX_IMAGE] if images else None


def _memory_limit(job: dict[str, Any]) -> int | None:
    """Return how much memory the trainers of a Job may use, in bytes, if they have a limit."""
    spec = ((job.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in spec.get("containers") or []:
        if container.get("name") == CONTAINER:
            limits = (container.get("resources") or {}).get("limits") or {}
            memory = read_usage({"memory": parse_quantity(limits.get("memory"))}).memory
            return memory and memory * nodes_of(job)
    return None


def _phase(pod: dict[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase"))


def _diagnose_dead_node(
    pod: dict[str, Any], node_is_ready: Callable[[str], bool]
) -> Diagnosis | None:
    """Return the diagnosis of a dead node, whose kubelet cannot report that its pods died."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    node = (pod.get("spec") or {}).get("nodeName")
    if ready or not node or node_is_ready(node):
        return None
    return diagnosis.diagnose_node(node)


def _started_at(job: dict[str, Any], pods: list[dict[str, Any]]) -> datetime | None:
    """Return when the first of the pods began to train, or else when the Job was started."""
    times = []
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            state = container.get("state") or {}
            since = (state.get("running") or state.get("terminated") or {}).get("startedAt")
            times += [parse_time(since)] if since else []
    first = min((time for time in times if time), default=None)
    return first or parse_time((job.get("status") or {}).get("startTime"))
